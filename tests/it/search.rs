//! What can be found, how, and what never is.
