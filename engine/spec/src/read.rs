//! All three steps at once: text to [`PipelineSpec`], everything wrong reported together.
//!
//! The plug-ins a pipeline names are known once its parameters are in their places, and are needed before its nodes
//! can be checked: [`read_extended`] asks the caller, who may read files, for what they add.

use engine_core::{Diagnostic, SourceText};

use crate::resolve::{Environment, PluginReference, Resolved};
use crate::validate::sort_by_place;
use crate::{Document, Folders, Parameters, PipelineSpec, Vocabulary, resolve, validate};

/// Reads a pipeline that uses the kinds of `vocabulary` and no plug-in; the second part of the result are warnings.
///
/// # Errors
/// Every problem of the text in its order, warnings among them; a text that is no YAML has one.
pub fn read(
    source: SourceText,
    parameters: &Parameters,
    environment: &Environment<'_>,
    vocabulary: &Vocabulary,
    folders: &Folders,
) -> Result<(PipelineSpec, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (resolved, problems) = begin(source, parameters, environment)?;
    finish(resolved, problems, vocabulary, folders)
}

/// What the plug-ins of a pipeline add to its reading.
#[derive(Debug, Clone, Default)]
pub struct Extension {
    /// Every kind the pipeline may use, those of its plug-ins among them.
    pub vocabulary: Vocabulary,
    /// What is wrong with the plug-ins.
    pub problems: Vec<Diagnostic>,
}

/// As [`read`], for a pipeline that may name plug-ins: `extend` is given the document and the folders in it, none
/// for most pipelines, and reads them.
///
/// # Errors
/// As [`read`], with the problems of the plug-ins.
pub fn read_extended(
    source: SourceText,
    parameters: &Parameters,
    environment: &Environment<'_>,
    folders: &Folders,
    extend: impl FnOnce(&Document, Vec<PluginReference>) -> Extension,
) -> Result<(PipelineSpec, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (resolved, mut problems) = begin(source, parameters, environment)?;
    let extension = extend(resolved.document(), resolved.plugins(folders));
    problems.extend(extension.problems);
    finish(resolved, problems, &extension.vocabulary, folders)
}

fn begin(
    source: SourceText,
    parameters: &Parameters,
    environment: &Environment<'_>,
) -> Result<(Resolved, Vec<Diagnostic>), Vec<Diagnostic>> {
    let document = Document::parse(source).map_err(|problem| vec![problem])?;
    Ok(resolve(document, parameters, environment))
}

fn finish(
    resolved: Resolved,
    mut problems: Vec<Diagnostic>,
    vocabulary: &Vocabulary,
    folders: &Folders,
) -> Result<(PipelineSpec, Vec<Diagnostic>), Vec<Diagnostic>> {
    let source = resolved.document().source().clone();
    match validate(resolved, vocabulary, folders) {
        Ok(pipeline) if !problems.iter().any(Diagnostic::is_error) => Ok((pipeline, problems)),
        result => {
            problems.extend(result.err().into_iter().flatten());
            sort_by_place(&mut problems, &source);
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Unread;
    use crate::testing::{WHOLE_PIPELINE, folders, no_environment, problems, shown, vocabulary, whole};

    fn check_places(text: &str) {
        let source = SourceText { name: "p.yaml".into(), text: text.to_owned() };
        let environment = |name: &str| (name == "HOST").then(|| "h".to_owned());
        let problems = match read(source, &Parameters::new(), &environment, &vocabulary(), &folders()) {
            Ok((_, warnings)) => warnings,
            Err(problems) => {
                assert!(problems.iter().any(Diagnostic::is_error), "a refusal has a reason: {text}");
                problems
            }
        };
        for problem in &problems {
            assert!(!problem.labels.is_empty(), "{problem:?} of {text:?}");
            for label in &problem.labels {
                let span = &label.span;
                assert!(span.source.text.get(span.range.clone()).is_some(), "{problem:?} of {text:?}");
            }
        }
    }

    #[test]
    fn problems_of_all_steps_come_together_in_the_order_of_the_text() {
        let text = "\
params: {data: d, unused: 1}
nodes:
  rows: {uses: ingest.cvs, with: {path: '${dta}/a.csv'}}
  more: {uses: ingest.csv, with: {path: '${data}', skip: -1, nuls: []}}
  last: {uses: clean.impute, with: {strategy: man}, in: rowz}
";
        let codes: Vec<String> =
            problems(text).iter().map(|problem| problem.split(' ').next().unwrap_or_default().to_owned()).collect();
        assert_eq!(
            codes,
            [
                "param.unused",
                "kind.unknown",
                "param.unknown",
                "option.value",
                "option.unknown",
                "option.value",
                "reference.unknown"
            ]
        );
    }

    fn extended(text: &str, unread: Unread) -> (Vec<PluginReference>, Vec<String>) {
        let source = SourceText { name: "p.yaml".into(), text: whole(text) };
        let mut seen = Vec::new();
        let mut parameters = Parameters::new();
        parameters.set("here=local").unwrap();
        let result = read_extended(source, &parameters, &no_environment, &folders(), |_, references| {
            seen = references;
            Extension { vocabulary: vocabulary().with_unread(unread), problems: Vec::new() }
        });
        let problems = result.map_or_else(|problems| shown(&problems), |(pipeline, _)| pipeline.plugins);
        (seen, problems)
    }

    #[test]
    fn plugins_are_folders_seen_from_the_pipeline_or_from_where_they_were_set() {
        let text = "params: {here: x}\nplugins: [plugins/one, '${here}/two', /srv/three]\nnodes:\n  rows: {uses: ingest.csv, with: {path: a.csv}}\n";
        let (seen, folders) = extended(text, Unread::default());
        assert_eq!(folders, ["/pipelines/plugins/one", "/home/local/two", "/srv/three"]);
        let pointers: Vec<&str> = seen.iter().map(|reference| reference.pointer.as_str()).collect();
        assert_eq!(pointers, ["/plugins/0", "/plugins/1", "/plugins/2"]);
    }

    #[test]
    fn a_kind_that_could_not_be_read_is_no_unknown_kind() {
        let text =
            "params: {here: x}\nplugins: ['${here}']\nnodes:\n  rows: {uses: acme.one}\n  more: {uses: acme.two}\n";
        let codes =
            |unread: Unread| extended(text, unread).1.iter().filter(|line| line.contains("kind.unknown")).count();
        assert_eq!(codes(Unread::default()), 2);
        assert_eq!(codes(Unread { names: ["acme.one".to_owned()].into(), others: false }), 1);
        assert_eq!(codes(Unread { others: true, ..Unread::default() }), 0);
    }

    #[test]
    fn what_is_wrong_with_plugins_is_said() {
        for (text, expected) in [
            ("plugins: one\n", "spec.type 1:10 one"),
            ("plugins: []\n", "spec.value 1:10 []"),
            ("plugins: [1]\n", "spec.type 1:11 1"),
            ("env: {KEY: {secret: true}}\nplugins: ['${env.KEY}']\n", "env.secret 2:11"),
        ] {
            let found = problems(&format!("{text}nodes:\n  rows: {{uses: ingest.csv, with: {{path: a.csv}}}}\n"));
            assert!(found.len() == 1 && found[0].starts_with(expected), "{text} gives {found:#?}");
        }
    }

    /// Texts near to pipelines: a whole one with a few bytes changed, so that deep parts are reached.
    fn nearly_a_pipeline() -> impl Strategy<Value = String> {
        let whole = whole(WHOLE_PIPELINE);
        let edit = (
            0..whole.len(),
            0usize..8,
            "[ -~\n\tä]{0,4}|\\$\\{[a-z.]{0,6}\\}?|&a |\\*a|: |- |\\[|\\]|\\{|\\}|'|\"|~|null|1|!!x |<<: |---\n",
        );
        prop::collection::vec(edit, 1..4).prop_map(move |edits| {
            let mut text = whole.clone();
            for (at, len, new) in edits {
                let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                let end = (at + len).min(text.len());
                let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
                text.replace_range(at..end, &new);
            }
            text
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1024), ..ProptestConfig::default() })]

        #[test]
        fn any_text_gives_a_pipeline_or_problems_with_places_in_it(text in any::<String>()) {
            check_places(&text);
        }

        #[test]
        fn any_yaml_like_text_gives_a_pipeline_or_problems_with_places_in_it(
            text in "([a-z]{1,3}|[:,\\[\\]{}&*!|>'\"%@`#?-]|[ \n\t]{1,3}|---|\\.\\.\\.|[0-9.]{1,3}|ä|\u{feff}|\r\n|\\$\\{|: |- ){0,30}"
        ) {
            check_places(&text);
        }

        #[test]
        fn any_near_pipeline_gives_a_pipeline_or_problems_with_places_in_it(text in nearly_a_pipeline()) {
            check_places(&text);
        }
    }
}
