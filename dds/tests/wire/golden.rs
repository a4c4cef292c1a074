//! Bytes between nodes, to be added to and never edited.
