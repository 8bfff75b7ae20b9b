//! JSON pointers (RFC 6901): how a place in a document is named.

use std::borrow::Cow;

/// `pointer` one step further down, to `key` of a map.
pub(crate) fn join(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", escape(key))
}

/// `pointer` one step further down, to item `index` of a list.
pub(crate) fn join_index(pointer: &str, index: usize) -> String {
    format!("{pointer}/{index}")
}

/// The steps of `pointer` from the root down, unescaped.
pub(crate) fn steps(pointer: &str) -> impl Iterator<Item = Cow<'_, str>> {
    pointer.split('/').skip(1).map(unescape)
}

/// `pointer` without its last step, and that step unescaped; nothing above the root.
pub(crate) fn split_last(pointer: &str) -> Option<(&str, Cow<'_, str>)> {
    let cut = pointer.rfind('/')?;
    Some((&pointer[..cut], unescape(&pointer[cut + 1..])))
}

fn escape(key: &str) -> Cow<'_, str> {
    if key.contains(['~', '/']) { Cow::Owned(key.replace('~', "~0").replace('/', "~1")) } else { Cow::Borrowed(key) }
}

fn unescape(step: &str) -> Cow<'_, str> {
    if step.contains('~') { Cow::Owned(step.replace("~1", "/").replace("~0", "~")) } else { Cow::Borrowed(step) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_slashes_and_tildes_come_back() {
        let pointer = join(&join_index(&join("", "a/b"), 3), "~1");
        assert_eq!(pointer, "/a~1b/3/~01");
        assert_eq!(steps(&pointer).collect::<Vec<_>>(), ["a/b", "3", "~1"]);
        assert_eq!(split_last(&pointer), Some(("/a~1b/3", Cow::from("~1"))));
        assert_eq!(steps("").count(), 0);
    }
}
