//! What parameters and the environment put in their places, and what they cannot.

use engine_core::Severity;
use serde_json::{Value, json};

use super::*;
use crate::testing::{problems, read_with, shown};

fn resolved(text: &str, settings: &[&str]) -> (Resolved, Vec<Diagnostic>) {
    let mut parameters = Parameters::new();
    settings.iter().for_each(|setting| parameters.set(setting).unwrap());
    let document = Document::parse(SourceText { name: "p.yaml".into(), text: text.into() }).unwrap();
    let environment = |name: &str| match name {
        "PORT" => Some("8080".to_owned()),
        "ZIP" => Some("01234".to_owned()),
        "HUGE" => Some("99999999999999999999".to_owned()),
        _ => None,
    };
    resolve(document, &parameters, &environment)
}

/// `value:` of `text` once resolved, which must go well but for warnings.
fn value(text: &str, settings: &[&str]) -> Value {
    let (resolved, problems) = resolved(text, settings);
    assert!(problems.iter().all(|problem| problem.severity == Severity::Warning), "{:#?}", shown(&problems));
    resolved.document().value_at("/value").cloned().unwrap()
}

fn refused(text: &str) -> Vec<String> {
    shown(&resolved(text, &[]).1)
}

#[test]
fn alone_a_parameter_keeps_its_type_and_inside_a_text_it_becomes_text() {
    let params = "params: {n: 8, list: [1, {a: b}], version: 1.10, yes: true, name: x, nothing: ~}\n";
    let check = |written: &str, expected: Value| {
        assert_eq!(value(&format!("{params}value: {written}\n"), &[]), expected, "{written}");
    };
    check("'${n}'", json!(8));
    check("${list}", json!([1, {"a": "b"}]));
    check("'${nothing}'", json!(null));
    check("a${n}b${yes}", json!("a8btrue"));
    check("v${version}", json!("v1.10"));
    check("$${n} costs $5", json!("${n} costs $5"));
    check("[{k: '${name}-${name}'}]", json!([{"k": "x-x"}]));
    check("{'$${k}': 1}", json!({"${k}": 1}));
}

#[test]
fn settings_replace_values_and_keep_their_types() {
    let text = "params: {n: 8, data: d}\nvalue: ['${n}', '${data}/x']\n";
    assert_eq!(value(text, &[]), json!([8, "d/x"]));
    assert_eq!(value(text, &["n=9", "data=/tmp"]), json!([9, "/tmp/x"]));
    assert_eq!(value(text, &["n='9'", "data=1.50"]), json!(["9", "1.50/x"]));
}

#[test]
fn parameters_may_use_each_other_in_any_order() {
    assert_eq!(value("params: {a: '${b}/a', b: '${c}', c: [1]}\nvalue: '${c}'\n", &["c=x"]), json!("x"));
    assert_eq!(value("params: {a: '${b}/a', b: '${c}', c: x}\nvalue: ${a}\n", &[]), json!("x/a"));
    let (resolved, _) = resolved("params: {a: '${b}', b: 1}\nvalue: ${a}\n", &["b=2"]);
    assert_eq!(resolved.params["a"], json!(2));
    assert_eq!(resolved.document().value_at("/params/b"), Some(&json!(2)));
}

#[test]
fn a_circle_of_parameters_is_told_once_as_a_path() {
    assert_eq!(
        refused("params: {a: '${b}', b: 'x${c}', c: '${a}'}\nvalue: ${a}\n"),
        [
            "param.cycle 1:13 '${b}': parameters refer to each other in a circle: `a` -> `b` -> `c` -> `a` | give one of them a value that needs none of the others"
        ]
    );
    assert_eq!(refused("params: {a: '${a}'}\n").len(), 1);
}

#[test]
fn unknown_names_are_told_with_the_nearest() {
    assert_eq!(
        refused("params: {data: d}\nvalue: ['${dat}/a', '${data}', '${other}']\n"),
        [
            "param.unknown 2:10 ${dat}: no parameter `dat` is declared | did you mean `data`?",
            "param.unknown 2:33 ${other}: no parameter `other` is declared | declare it under `params:`, where `data` stand"
        ]
    );
    assert_eq!(
        refused("value: ${HOME}\n"),
        ["param.unknown 1:8 ${HOME}: no parameter `HOME` is declared | declare it: `params: {HOME: ...}`"]
    );
    let (_, problems) = resolved("params: {epochs: 1}\nvalue: ${epochs}\n", &["epoch=2"]);
    assert_eq!(
        shown(&problems),
        ["param.setting 1:1 2: the pipeline declares no parameter `epoch` | did you mean `epochs`?"]
    );
    assert_eq!(problems[0].labels[0].span.source.name, "--set epoch");
}

#[test]
fn what_parameters_cannot_do_is_told_at_its_place() {
    assert_eq!(
        refused("params: {list: [1]}\nvalue: 'a ${list}'\n")[0],
        "param.in_text 2:11 ${list}: `${list}` is a list and cannot stand inside a text | write `${list}` as the whole value, or give it a text"
    );
    assert!(refused("value: {'${a}': 1}\n")[0].starts_with("param.in_key 1:9 '${a}'"));
    assert!(refused("value: 'x ${a b}'\n")[0].starts_with("param.syntax 1:11 ${a b}"));
    assert!(refused("value: 'x ${a'\n")[0].starts_with("param.syntax 1:11 ${a"));
    assert_eq!(
        refused("params: {Data-Folder: x}\nvalue: ${Data-Folder}\n"),
        ["param.name 1:10 Data-Folder: `Data-Folder` cannot be a parameter's name | call it `data_folder`"]
    );
}

#[test]
fn declared_variables_have_values_and_secrets_stay_closed() {
    let env = "env: {PORT: {}, ZIP: {default: ''}, NONE: {default: 3}, TOKEN: {secret: true}}\nparams: {token: '${env.TOKEN}'}\n";
    let text = format!(
        "{env}value: ['${{env.PORT}}', 'p${{env.PORT}}', '${{env.ZIP}}', '${{env.NONE}}', '${{env.TOKEN}}', '${{token}}']\n"
    );
    let (resolved, problems) = resolved(&text, &[]);
    assert_eq!(shown(&problems), Vec::<String>::new());
    assert_eq!(
        resolved.document().value_at("/value"),
        Some(&json!([8080, "p8080", "01234", 3, "${env.TOKEN}", "${env.TOKEN}"]))
    );
    let state = |pointer: &str| resolved.document().tree().at(pointer).unwrap().state.clone();
    assert_eq!((state("/value/4"), state("/value/5")), (State::Secret("TOKEN".into()), State::Secret("TOKEN".into())));
    assert_eq!(resolved.env["TOKEN"], EnvironmentVariable { secret: true });
}

#[test]
fn a_secret_is_never_asked_for() {
    let document = Document::parse(SourceText {
        name: "p.yaml".into(),
        text: "env: {TOKEN: {secret: true}}\nvalue: ${env.TOKEN}\n".into(),
    });
    let environment = |name: &str| -> Option<String> { panic!("asked for {name}") };
    resolve(document.unwrap(), &Parameters::new(), &environment);
}

#[test]
fn variables_that_cannot_be_used_are_told() {
    assert_eq!(
        refused("value: ${env.PORT}\n"),
        [
            "env.undeclared 1:8 ${env.PORT}: the environment variable `PORT` is not declared | declare it: `env: {PORT: {}}`, with `secret: true` if it must not be shown"
        ]
    );
    assert!(
        refused("env: {PORT: {}}\nvalue: ['${env.POTR}', '${env.PORT}']\n")[0].ends_with("did you mean `${env.PORT}`?")
    );
    // Missing once, however often it is used.
    assert_eq!(
        refused("env: {ABSENT: {}}\nvalue: ['${env.ABSENT}', 'x${env.ABSENT}']\n"),
        [
            "env.missing 2:10 ${env.ABSENT}: the environment variable `ABSENT` is not set | set it where the program is started, or give `ABSENT` a `default:`"
        ]
    );
    assert!(refused("env: {T: {secret: true}}\nvalue: 'Bearer ${env.T}'\n")[0].starts_with("env.secret 2:16 ${env.T}"));
    assert!(refused("env: {T: {secret: true, default: x}}\nvalue: ${env.T}\n")[0].starts_with("env.secret 1:34 x"));
    assert!(refused("env: {D: {default: '${x}'}}\nvalue: ${env.D}\n")[0].starts_with("param.syntax 1:20 '${x}'"));
    assert!(refused("env: {HUGE: {}}\nvalue: ${env.HUGE}\n")[0].starts_with("yaml.number 1:1"));
}

#[test]
fn what_is_declared_and_not_used_is_a_warning() {
    let (_, problems) = resolved("params: {a: 1, b: '${a}'}\nenv: {PORT: {}}\n", &[]);
    assert_eq!(
        shown(&problems),
        [
            "param.unused 1:16 b: the parameter `b` is not used | use it as `${b}` or remove it",
            "env.unused 2:7 PORT: the environment variable `PORT` is not used | use it as `${env.PORT}` or remove it"
        ]
    );
    assert!(problems.iter().all(|problem| problem.severity == Severity::Warning));
}

#[test]
fn a_path_resolves_from_where_its_beginning_was_given() {
    let base = |text: &str, settings: &[&str]| {
        let (resolved, _) = resolved(text, settings);
        resolved.document().tree().at("/value").unwrap().base
    };
    let (pipeline, working) = (Base::PipelineFolder, Base::WorkingDirectory);
    assert_eq!(base("params: {d: x}\nvalue: '${d}/a'\n", &[]), pipeline);
    assert_eq!(base("params: {d: x}\nvalue: '${d}/a'\n", &["d=y"]), working);
    assert_eq!(base("params: {d: x}\nvalue: ${d}\n", &["d=y"]), working);
    assert_eq!(base("params: {d: x}\nvalue: 'a/${d}'\n", &["d=y"]), pipeline);
    assert_eq!(base("params: {d: x, e: '${d}/b'}\nvalue: '${e}/a'\n", &["d=y"]), working);
    assert_eq!(base("params: {d: x, e: '${d}/b'}\nvalue: '${e}/a'\n", &["e=z"]), working);
    let (resolved, _) = resolved("params: {d: x, l: ['${d}/a', b]}\nvalue: ${l}\n", &["d=y"]);
    let base = |pointer: &str| resolved.document().tree().at(pointer).unwrap().base;
    assert_eq!((base("/value/0"), base("/value/1")), (working, pipeline));
}

#[test]
fn a_value_from_outside_is_placed_at_its_use_and_knows_its_origin() {
    let (resolved, _) = resolved("params: {n: 8}\nvalue: ${n}\n", &["n=[1, x]"]);
    let document = resolved.document();
    assert_eq!(document.span("/value/1").text(), "${n}");
    assert_eq!(document.origin("/value/1").unwrap().text(), "x");
    assert_eq!(document.origin("/value").unwrap().source.name, "--set n");
    assert_eq!(document.span("/params/n").source.name, "p.yaml");
}

#[test]
fn parameters_cannot_grow_without_end() {
    let doubling = |make: fn(usize) -> String| {
        let params: Vec<String> = (0..40).map(|level| format!("p{level}: {}", make(level + 1))).collect();
        format!("params: {{{}, p40: xxxxxxxxxx}}\nvalue: ${{p0}}\n", params.join(", "))
    };
    let texts = refused(&doubling(|next| format!("'${{p{next}}}${{p{next}}}'")));
    let lists = refused(&doubling(|next| format!("['${{p{next}}}', '${{p{next}}}']")));
    for problems in [texts, lists] {
        let limits: Vec<&String> = problems.iter().filter(|problem| problem.starts_with("yaml.limit")).collect();
        assert_eq!((limits.len(), problems.len()), (1, 1), "{problems:#?}");
    }
}

#[test]
fn long_chains_and_deep_nests_of_parameters_are_refused() {
    let chain = |len: usize, open: &str, close: &str| {
        let params: Vec<String> = (0..len).map(|at| format!("p{at}: {open}'${{p{}}}'{close}", at + 1)).collect();
        format!("params: {{{}, p{len}: x}}\nvalue: ${{p0}}\n", params.join(", "))
    };
    assert_eq!(refused(&chain(60, "", "")), Vec::<String>::new());
    for refused in [refused(&chain(10_000, "", "")), refused(&chain(20, "[[[[", "]]]]"))] {
        assert!(refused.len() == 1 && refused[0].starts_with("yaml.limit"), "{refused:#?}");
    }
}

#[test]
fn nothing_is_said_twice_of_what_could_not_be_resolved() {
    let text = "nodes:\n  rows: {uses: ingest.csv, with: {path: '${a}', skip: '${b}', nulls: ['${c}'], types: {x: '${d}'}}, retries: '${e}'}\n  next: {uses: '${f}', with: {anything: 1}, in: '${g}'}\n  last: {uses: clean.impute, with: '${h}', in: ['${i}'], cache: '${j}', timeout: '${k}'}\n";
    let problems = problems(text);
    assert_eq!(problems.len(), 11, "{problems:#?}");
    assert!(problems.iter().all(|problem| problem.starts_with("param.unknown")));
}

#[test]
fn a_wrong_value_from_outside_is_shown_at_both_places() {
    let mut parameters = Parameters::new();
    parameters.set("skip=-1").unwrap();
    let text = "params: {skip: 1}\nnodes:\n  rows: {uses: ingest.csv, with: {path: a.csv, skip: '${skip}'}}\n";
    let problems = read_with(text, &parameters).unwrap_err();
    assert_eq!(problems[0].labels[0].span.text(), "'${skip}'");
    assert_eq!(problems[0].labels[1].span.source.name, "--set skip");
}
