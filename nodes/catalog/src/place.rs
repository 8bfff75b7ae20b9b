//! Places in options: JSON pointers below `with`.

use engine_table::At;

/// The whole option.
pub(crate) fn option(name: &str) -> At {
    At::Option(format!("/{name}"))
}

/// The entry `key` of an option that is a map or a list (RFC 6901 escapes).
pub(crate) fn entry(name: &str, key: impl std::fmt::Display) -> At {
    let key = key.to_string().replace('~', "~0").replace('/', "~1");
    At::Option(format!("/{name}/{key}"))
}
