//! All three steps at once: text to [`PipelineSpec`], everything wrong reported together.

use engine_core::{Diagnostic, SourceText};

use crate::resolve::Environment;
use crate::validate::sort_by_place;
use crate::{Document, Folders, Parameters, PipelineSpec, Vocabulary, resolve, validate};

/// Reads a pipeline; the second part of the result are warnings.
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
    let document = Document::parse(source).map_err(|problem| vec![problem])?;
    let (resolved, mut problems) = resolve(document, parameters, environment);
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
    use crate::testing::{WHOLE_PIPELINE, folders, problems, vocabulary, whole};

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
