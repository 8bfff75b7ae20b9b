//! The registry as the words a pipeline may use: what `engine-spec` validates against.

use engine_core::ArtifactKind;
use engine_spec::{InputPort, KindDescription, OutputPort, Vocabulary};
use engine_table::{Arity, Kind, Registry};

/// Every kind of `registry`, described.
pub fn vocabulary(registry: &Registry) -> Vocabulary {
    Vocabulary::new(registry.iter().map(|kind| (kind.name.clone(), describe(kind))))
}

fn describe(kind: &Kind) -> KindDescription {
    let inputs = kind.inputs.iter().map(|port| InputPort {
        name: port.name.clone(),
        // A table port takes a list of tables of one row set, which are merged by column.
        many: port.arity == Arity::Many || port.takes == ArtifactKind::Table,
        optional: port.arity == Arity::Optional,
    });
    KindDescription {
        summary: kind.summary().to_owned(),
        options: kind.options_schema.clone(),
        opens_secrets: kind.opens_secrets,
        inputs: inputs.collect(),
        outputs: kind.outputs.iter().map(|port| OutputPort::new(&port.name)).collect(),
    }
}
