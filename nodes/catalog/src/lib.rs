//! What a pipeline can do: the kinds.
//!
//! `src/<stage>/<kind>.rs` is the kind `<stage>.<kind>`. A kind declares what it reads and writes and
//! joins plain functions to a contract of `engine-table`; it knows no graph, no store and no other kind.

mod cell;
mod clean;
mod codes;
mod deploy;
mod encode;
mod evaluate;
mod extract;
mod ingest;
mod join;
mod layout;
mod model;
mod place;
pub mod plugin;
mod predict;
mod row_bytes;
mod scores;
mod split;
mod statistics;
mod train;
mod tune;

use engine_core::Code;
use engine_table::{Kind, Registry};

/// The process behind `ingest.claims`, by whose Bayes rule a model can be judged.
pub mod claims {
    pub use crate::ingest::claims::{Claim, ClaimsOptions, ClaimsProcess, Modality, TableRow, claim_id};
}

/// Every kind.
pub fn registry() -> Registry {
    Registry::new(kinds())
}

/// The kinds of this crate, for a registry with more in it.
pub fn kinds() -> Vec<Kind> {
    vec![
        Kind::source::<ingest::claims::Claims>(),
        Kind::source::<ingest::csv::Csv>(),
        Kind::source::<ingest::parquet::Parquet>(),
        Kind::fetch::<ingest::files::Files>(),
        Kind::fit_apply::<clean::impute::Impute>(),
        Kind::fit_apply::<clean::clip_outliers::ClipOutliers>(),
        Kind::row_local::<clean::cast::Cast>(),
        Kind::whole::<clean::drop_duplicates::DropDuplicates>(),
        Kind::fit_apply_on_all::<split::random::Random>(),
        Kind::row_local::<split::by_column::ByColumn>(),
        Kind::fit_apply_on_all::<split::folds::Folds>(),
        Kind::fit_apply_on_all::<split::by_time::ByTime>(),
        Kind::row_local::<join::left::Left>(),
        Kind::row_local::<extract::columns::Columns>(),
        Kind::whole::<extract::sql::Sql>(),
        Kind::row_local::<extract::image_tensor::ImageTensor>(),
        Kind::row_local::<extract::log_mel::LogMelKind>(),
        Kind::row_local::<extract::pack::Pack>(),
        Kind::fit_apply::<extract::tokenize::Tokenize>(),
        Kind::fit_apply::<encode::one_hot::OneHot>(),
        Kind::fit_apply::<encode::standardize::Standardize>(),
        Kind::encoder::<encode::text::TextEncoder>(),
        Kind::encoder::<encode::image::ImageEncoder>(),
        Kind::encoder::<encode::sound::SoundEncoder>(),
        Kind::encoder::<encode::table::TableEncoder>(),
        Kind::fit::<train::multimodal::Multimodal>(),
        Kind::fit::<train::logistic::Logistic>(),
        Kind::reduce::<evaluate::classification::Classification>(),
        Kind::reduce::<evaluate::regression::Regression>(),
        Kind::expand::<evaluate::cross_validate::CrossValidate>(),
        Kind::expand::<evaluate::ablation::Ablation>(),
        Kind::expand::<tune::grid::Grid>(),
        Kind::expand::<tune::random::Random>(),
        Kind::row_local::<predict::table::Table>(),
        Kind::sink::<deploy::bundle::Bundle>(),
    ]
}

/// Every diagnostic the kinds report, for the pages of the book.
pub static CODES: &[&Code] = &[
    &codes::SOURCE_UNREADABLE,
    &codes::SOURCE_HEADER,
    &codes::SOURCE_COLUMN,
    &codes::SOURCE_TYPE,
    &codes::COLUMN_TYPE,
    &codes::COLUMN_EXISTS,
    &codes::SPLIT_SHARES,
    &codes::SPLIT_RULE,
    &codes::SPLIT_COLUMN,
    &codes::EXPRESSION_SYNTAX,
    &codes::EXPRESSION_ROW,
    &codes::EXPRESSION_FUNCTION,
    &codes::EXPRESSION_TYPE,
    &codes::SQL_STATEMENT,
    &codes::SQL_ORDER,
    &model::codes::TARGET_MISSING,
    &model::codes::TARGET_ROLE,
    &model::codes::TARGET_TASK,
    &model::codes::MODEL_COLUMN,
    &model::codes::MODEL_TABLE,
    &model::codes::ENCODE_COLUMN,
    &model::codes::ENCODE_PRESENT,
    &model::codes::ENCODE_SHAPE,
    &model::codes::LOSS_MODALITY,
    &model::codes::TRAIN_ENCODERS,
    &model::codes::EVALUATE_ABLATION,
    &model::codes::EVALUATE_MODEL,
    &model::codes::EVALUATE_FOLDS,
    &model::codes::TUNE_ON_TEST,
    &plugin::PLUGIN_EFFECT,
    &plugin::PLUGIN_FOLDER,
    &plugin::PLUGIN_MANIFEST,
    &plugin::PLUGIN_NAME,
    &plugin::PLUGIN_NOT_ROW_LOCAL,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use engine_table::FitOn;

    use super::*;

    #[test]
    fn every_kind_has_a_manual_and_an_example_that_uses_it() {
        for kind in registry().iter() {
            assert!(!kind.summary().is_empty(), "`{}` has no manual", kind.name);
            assert!(kind.example.contains(&format!("uses: {}", kind.name)), "the example of `{}`", kind.name);
            let schema = &kind.options_schema;
            assert_eq!(schema["additionalProperties"], false, "`{}` takes unknown options", kind.name);
            for (option, property) in schema["properties"].as_object().into_iter().flatten() {
                assert!(property["description"].is_string(), "option `{option}` of `{}` has no text", kind.name);
            }
            assert!(!schema.to_string().contains("$ref"), "the schema of `{}` refers elsewhere", kind.name);
        }
    }

    #[test]
    fn what_makes_the_parts_learns_from_all_rows() {
        for name in ["split.random", "split.folds"] {
            let registry = registry();
            let kind = registry.kind(name).unwrap();
            assert_eq!(kind.bind(&serde_json::Map::new()).ok().unwrap().fit_on, FitOn::All, "{name}");
            assert!(kind.options_schema["properties"].get("fit_on").is_none(), "{name}");
        }
    }

    #[test]
    fn every_code_has_a_name_of_its_own_and_a_page() {
        let names: BTreeSet<&str> = CODES.iter().map(|code| code.name).collect();
        assert_eq!(names.len(), CODES.len());
        assert!(CODES.iter().all(|code| !code.summary.is_empty() && code.explanation.len() > 80));
    }
}
