//! What a panic says that was caught.

use std::any::Any;

/// The text that it was raised with; empty if it was raised with something else.
pub fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
