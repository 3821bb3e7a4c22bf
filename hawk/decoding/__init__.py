"""Decoding: the algorithm. `session.py` holds its loop; it names no model and no drafter.

The capital letters at the end of a tensor's name are its sizes, one letter each, in the whole
package; a digit is a size of that number.

    A  cells above a cell that a drafter sees
    B  images of a pass or of a batch
    C  channels of a network or of a picture
    D  size of a vector: hidden state, attention head, codebook entry, features of an image
    E  entries of a pass of a row: tree nodes and forced row ends, or the tokens of a prompt
    F  positions of all rows in one list
    G  branches of guidance
    H  height
    I  images of a data set
    J  steps ahead of the last committed token
    K  best entries that are kept of many: likeliest tokens, nearest codebook entries
    L  levels of a tree, the root's included
    M  drafts of one step: the children of a node, siblings of each other
    N  tree nodes, root first
    O  output heads of the drafter `spatial`
    P  recorded passes
    Q  draft laws, from which drafts are drawn or fused
    R  rows of a pass: the branches of an image next to each other
    S  slots
    T  steps of an image, which are its tokens in raster order
    U  positions that a row has in memory
    V  image vocabulary
    W  width
    X  any other number, which the line says
    Y  classes of a classifier
    Z  tree shapes
"""
