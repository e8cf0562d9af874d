//! Directories of released formats stay readable. The files under `fixtures/` are never written again; a changed format
//! gets a new folder beside them.
