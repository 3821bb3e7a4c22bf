"""How property tests draw: bounded, and the same in every run of the same tests (constants of the
modules that are loaded are among what is drawn)."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SEEDED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
TEXT = st.text(st.characters(codec=None), max_size=20)  # half characters too
NUMBER = st.one_of(st.integers(), st.floats(), st.sampled_from([2**63, -(2**63), 1e39, 5e-324]))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBER, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=5,
)
