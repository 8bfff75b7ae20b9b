//! The encoder of a table's row: numbers and category embeddings through a multilayer perceptron.

use nodes_kernels::{Codes, InputGradient, KernelError, Matrix, PutTape, Tape, concat, embed, matrix_from};

use crate::ModelDevice;
use crate::batch::{Rows, TableBlock};
use crate::config::TableEncoderConfig;
use crate::mlp::{LayerSettings, Mlp};
use crate::parameters::{Builder, Initial, MatrixId, Parameters, ParametersError};
use crate::pass::Pass;

/// A table encoder whose parameters are in a model's registry.
#[derive(Debug, Clone)]
pub(crate) struct TableEncoder {
    numeric: usize,
    tables: Vec<MatrixId>,
    layers: Mlp,
}

impl TableEncoder {
    pub(crate) fn new<D: ModelDevice>(
        builder: &mut Builder<D>,
        name: &str,
        config: &TableEncoderConfig,
    ) -> Result<Self, ParametersError> {
        let options = &config.options;
        let mut tables = Vec::new();
        for (column, &cardinality) in config.categories.iter().enumerate() {
            let width = options.embedding_width(cardinality);
            // An unknown value starts as no evidence at all, and stays so unless the train rows hold unknown ones.
            let initial = Initial::UniformExceptFirstRow((3.0 / width as f64).sqrt());
            let name = format!("encoders.{name}.embeddings.{column}");
            tables.push(builder.matrix(name, (cardinality, width), initial)?);
        }
        let settings =
            LayerSettings { activation: options.activation, dropout: options.dropout, layer_norm: options.layer_norm };
        let prefix = format!("encoders.{name}.layers");
        let layers = Mlp::new(builder, &prefix, config.features(), &options.hidden, settings)?;
        Ok(TableEncoder { numeric: config.numeric, tables, layers })
    }

    /// How wide its output is.
    pub(crate) fn width(&self) -> usize {
        self.layers.width()
    }

    /// Shapes: the rows picked from `block`, which fits the encoder; result `(rows, width)`.
    pub(crate) fn forward<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        parameters: &Parameters<D>,
        device: &D,
        block: &TableBlock,
        rows: &Rows<'_>,
        pass: &Pass,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        let numeric = || -> Result<Matrix<f32, D, T>, KernelError> {
            let values = rows.of(&block.numeric, self.numeric);
            Ok(matrix_from(device, values, rows.len(), self.numeric)?.put_tape(T::default()))
        };
        let embedded = || -> Result<Matrix<f32, D, T>, KernelError> {
            let codes = Codes::new(rows.of(&block.codes, self.tables.len()), rows.len(), self.tables.len())?;
            let tables: Vec<_> = self.tables.iter().map(|&table| parameters.matrix(table)).collect();
            embed(device, &codes, &tables)
        };
        let (features, gradient) = match (self.numeric, self.tables.is_empty()) {
            (_, true) => (numeric()?, InputGradient::Skipped),
            (0, false) => (embedded()?, InputGradient::Needed),
            (_, false) => {
                let parts = vec![(numeric()?, InputGradient::Skipped), (embedded()?, InputGradient::Needed)];
                (concat(device, parts)?, InputGradient::Needed)
            }
        };
        self.layers.forward(parameters, features, gradient, pass)
    }
}
