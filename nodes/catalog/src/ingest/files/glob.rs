//! Patterns for names of files below a folder.

/// `*` and `?` within one part of a path, `**` for any number of folders, `{a,b}` for one of several.
pub(super) struct Glob {
    /// The alternatives, each as parts between slashes.
    alternatives: Vec<Vec<Vec<char>>>,
}

/// More alternatives than anybody writes.
const MOST: usize = 256;

impl Glob {
    /// Reads a pattern.
    pub(super) fn new(pattern: &str) -> Result<Glob, String> {
        let mut open = vec![pattern.to_owned()];
        let mut plain = Vec::new();
        while let Some(text) = open.pop() {
            match braces(&text)? {
                None => plain.push(text),
                Some((before, options, after)) => {
                    open.extend(options.iter().map(|option| format!("{before}{option}{after}")));
                }
            }
            if open.len() + plain.len() > MOST {
                return Err(format!("stands for more than {MOST} patterns"));
            }
        }
        if plain.iter().any(|text| text.starts_with('/') || text.split('/').any(|part| part == "..")) {
            return Err("must stay below `path`: no leading `/`, no `..`".to_owned());
        }
        let parts = |text: &String| text.split('/').map(|part| part.chars().collect()).collect();
        Ok(Glob { alternatives: plain.iter().map(parts).collect() })
    }

    /// Whether it matches the whole of `name`, whose parts are joined by `/`.
    pub(super) fn matches(&self, name: &str) -> bool {
        let name: Vec<Vec<char>> = name.split('/').map(|part| part.chars().collect()).collect();
        self.alternatives.iter().any(|pattern| parts_match(pattern, &name))
    }
}

/// The first `{a,b}` of a pattern: what stands before it, its options, and what stands behind.
fn braces(text: &str) -> Result<Option<(&str, Vec<&str>, &str)>, String> {
    let Some((before, rest)) = text.split_once('{') else { return Ok(None) };
    let Some((inside, after)) = rest.split_once('}') else { return Err("has a `{` without `}`".to_owned()) };
    if inside.contains('{') {
        return Err("has a `{` within another".to_owned());
    }
    Ok(Some((before, inside.split(',').collect(), after)))
}

/// By the places the pattern has reached so far: the time is a product of the lengths, whatever the stars.
fn parts_match(pattern: &[Vec<char>], name: &[Vec<char>]) -> bool {
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for part in pattern {
        let mut next = vec![false; name.len() + 1];
        if part.as_slice() == ['*', '*'] {
            let mut any = false;
            for (place, so_far) in reached.iter().enumerate() {
                any |= so_far;
                next[place] = any;
            }
        } else {
            for (place, text) in name.iter().enumerate() {
                next[place + 1] = reached[place] && part_matches(part, text);
            }
        }
        reached = next;
    }
    reached[name.len()]
}

fn part_matches(pattern: &[char], text: &[char]) -> bool {
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for sign in pattern {
        let mut next = vec![false; text.len() + 1];
        for place in 0..=text.len() {
            next[place] = match sign {
                '*' => reached[place] || place > 0 && next[place - 1],
                '?' => place > 0 && reached[place - 1],
                sign => place > 0 && reached[place - 1] && text[place - 1] == *sign,
            };
        }
        reached = next;
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_within_a_part_and_two_go_over_folders() {
        for (pattern, name, expected) in [
            ("*.png", "a.png", true),
            ("*.png", "a/b.png", false),
            ("**/*.png", "b.png", true),
            ("**/*.png", "x/y/b.png", true),
            ("x/**", "x/y/b.png", true),
            ("x/**/b.png", "x/b.png", true),
            ("?.{png,jpg}", "b.jpg", true),
            ("?.{png,jpg}", "b.gif", false),
            ("{a,b}/{1,2}.png", "b/1.png", true),
            ("a*b*c.png", "axxbxxc.png", true),
            ("a*b*c.png", "axxcxxb.png", false),
        ] {
            assert_eq!(Glob::new(pattern).unwrap().matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends() {
        let pattern = "*a".repeat(60);
        assert!(!Glob::new(&pattern).unwrap().matches(&format!("{}b", "a".repeat(200))));
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for pattern in ["{a", "{a{b}}", "/a", "../a", &"{a,b}".repeat(20)] {
            assert!(Glob::new(pattern).is_err(), "{pattern}");
        }
    }
}
