//! The names and pages of what can be wrong with a pipeline's text.

pub(crate) mod node;
pub(crate) mod option;
pub(crate) mod param;
pub(crate) mod spec;
pub(crate) mod yaml;

use engine_core::Code;

/// Every code this room reports, in the order of their names.
pub const CODES: &[&Code] = &[
    &param::ENV_MISSING,
    &param::ENV_SECRET,
    &param::ENV_UNDECLARED,
    &param::ENV_UNUSED,
    &node::KIND_SCHEMA,
    &node::KIND_UNKNOWN,
    &node::ID,
    &option::MISSING,
    &option::TYPE,
    &option::UNKNOWN,
    &option::VALUE,
    &param::CYCLE,
    &param::IN_KEY,
    &param::IN_TEXT,
    &param::NAME,
    &param::SETTING,
    &param::SYNTAX,
    &param::UNKNOWN,
    &param::UNUSED,
    &node::PORT_MANY,
    &node::PORT_UNBOUND,
    &node::PORT_UNKNOWN,
    &node::REFERENCE_FORM,
    &node::REFERENCE_TWICE,
    &node::REFERENCE_UNKNOWN,
    &spec::MISSING_KEY,
    &spec::TYPE,
    &spec::UNKNOWN_KEY,
    &spec::VALUE,
    &spec::VERSION,
    &yaml::DOCUMENTS,
    &yaml::DUPLICATE_KEY,
    &yaml::KEY,
    &yaml::LIMIT,
    &yaml::MERGE,
    &yaml::NUMBER,
    &yaml::SYNTAX,
    &yaml::TAG,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Parameters;
    use crate::testing::{problems, read_with, shown};

    #[test]
    fn codes_are_unique_and_in_order() {
        let names: Vec<&str> = CODES.iter().map(|code| code.name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
    }

    /// The fenced YAML examples of a page.
    fn examples(page: &str) -> Vec<String> {
        page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
    }

    #[test]
    fn every_code_has_a_page_with_a_wrong_and_a_right_example() {
        for code in CODES {
            assert!(code.name.contains('.') && !code.summary.is_empty(), "{}", code.name);
            assert!(!code.summary.ends_with('.'), "{}", code.name);
            assert!(examples(code.explanation).len() >= 2, "{} shows a wrong and a right example", code.name);
        }
    }

    #[test]
    fn the_wrong_example_of_every_page_has_its_code_and_the_right_one_has_none() {
        for code in CODES {
            let examples = examples(code.explanation);
            let right = problems(examples.last().unwrap());
            assert_eq!(right, Vec::<String>::new(), "{}", code.name);
            let mut parameters = Parameters::new();
            if code.name == "param.setting" {
                parameters.set("epoch=3").unwrap();
            }
            // A text beyond a limit does not fit on a page.
            if code.name == "yaml.limit" {
                continue;
            }
            let wrong = match read_with(&examples[0], &parameters) {
                Ok((_, warnings)) => warnings,
                Err(problems) => problems,
            };
            let is_told = wrong.iter().any(|problem| problem.code == *code);
            let is_alone = wrong.iter().all(|problem| problem.code == *code || !problem.is_error());
            assert!(is_told && is_alone, "{}: {:#?}", code.name, shown(&wrong));
        }
    }
}
