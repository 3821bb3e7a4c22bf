"""Images as files: encoding, the origin inside each, folders of them, and making one again."""
