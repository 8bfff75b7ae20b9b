//! How a model is trained.

use std::collections::BTreeMap;

use nodes_kernels::{OptimiserSettings, Residual, Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Options that contradict themselves or lie outside their range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OptionsError {
    /// A number lies outside its range.
    #[error("`{name}` is {found}, expected {expected}")]
    Range {
        /// The option.
        name: &'static str,
        /// Its value.
        found: f64,
        /// Its range in words.
        expected: &'static str,
    },

    /// Decoupled decay was asked of an optimiser that has none.
    #[error("`weight_decay` belongs to the optimiser `adamw`; for the others use `l2`")]
    Decay,

    /// The class weights are not one positive number per class.
    #[error("`class_weights` holds {found} weights for {classes} classes, expected one number from 0 for each")]
    ClassWeights {
        /// How many classes there are.
        classes: usize,
        /// How many usable weights there are.
        found: usize,
    },

    /// The loss of a modality is weighed by a number below zero, or that is none.
    #[error("the loss of `{modality}` has the weight {found}, expected a finite number from 0")]
    LossWeight {
        /// The encoder's name.
        modality: String,
        /// The weight.
        found: f64,
    },

    /// A modality is weighed that the model does not have.
    #[error("the loss of `{0}` has a weight, but the model has no encoder of that name")]
    UnknownModality(String),
}

/// How a model is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingOptions {
    /// How many times the train rows are gone through at most; 100 by default.
    #[schemars(range(min = 1))]
    pub epochs: usize,

    /// How many rows make one step; 64 by default.
    #[schemars(range(min = 1))]
    pub batch_size: usize,

    /// The length of a step; 0.001 by default.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f64,

    /// What turns gradients into steps; `adamw` by default.
    pub optimiser: OptimiserName,

    /// λ of the penalty λ/2 |w|² on the weights, as a term of the gradient; 0 by default.
    #[schemars(range(min = 0.0))]
    pub l2: f64,

    /// The decoupled decay of `adamw`, per step and in units of the learning rate; 0.01 by default.
    #[schemars(range(min = 0.0))]
    pub weight_decay: Option<f64>,

    /// The share of the last step that `sgd` keeps, at least 0 and less than 1; 0.9 by default.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub momentum: f64,

    /// The largest Euclidean norm of the gradient, to which larger ones are cut; none by default.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub gradient_clip: Option<f64>,

    /// After how many epochs without a better validation loss training stops; 10 by default, `null` for never.
    ///
    /// With validation rows the weights of the best epoch are kept, whether training stops early or not.
    #[schemars(range(min = 1))]
    pub patience: Option<usize>,

    /// How much the rows of each class count in classification; all the same by default.
    pub class_weights: ClassWeights,

    /// The share of each row's target that is spread over all classes, at least 0 and less than 1; 0 by default.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub label_smoothing: f64,

    /// Where the loss of a numeric target turns from quadratic to linear, in standard deviations of the target; always
    /// quadratic by default.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub huber_delta: Option<f64>,

    /// How much the losses of several encoders count; with one encoder there is one loss.
    pub loss_weights: LossWeights,
}

/// How much each term of the joint loss counts.
///
/// With two or more encoders, each has a head of its own beside the joint one, and training makes
/// `joint · L_joint + Σ modality · L_modality` small. The terms of the modalities keep each encoder learning where another
/// one alone would do, and give its own score. Only the ratios matter to Adam; the prediction is the joint head's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LossWeights {
    /// The weight of the loss of the joint prediction, above 0; 1 by default.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub joint: f64,

    /// The weights of the losses of single encoders, by their names, each at least 0.
    #[schemars(extend("additionalProperties" = {"type": "number", "minimum": 0}))]
    pub modalities: BTreeMap<String, f64>,

    /// The weight of the loss of every encoder that has none of its own, at least 0; 0.3 by default.
    #[schemars(range(min = 0.0))]
    pub default_modality: f64,
}

impl Default for LossWeights {
    fn default() -> Self {
        LossWeights { joint: 1.0, modalities: BTreeMap::new(), default_modality: 0.3 }
    }
}

impl LossWeights {
    /// The weight of the loss of an encoder.
    pub fn modality(&self, name: &str) -> f64 {
        self.modalities.get(name).copied().unwrap_or(self.default_modality)
    }

    /// Checks that every weight belongs to one of the encoders.
    ///
    /// # Errors
    /// [`OptionsError::UnknownModality`] with the first that does not.
    pub(crate) fn check_names<'a>(&self, encoders: impl Iterator<Item = &'a str>) -> Result<(), OptionsError> {
        let known: Vec<&str> = encoders.collect();
        match self.modalities.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(OptionsError::UnknownModality(name.clone())),
            None => Ok(()),
        }
    }
}

/// What turns gradients into steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OptimiserName {
    /// Adam (Kingma and Ba 2015).
    Adam,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    #[default]
    AdamW,
    /// Gradient descent with momentum.
    Sgd,
}

/// How much the rows of each class count.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// All rows the same.
    #[default]
    Equal,
    /// All classes the same in total.
    Balanced,
    /// A factor for each class, in the order of the classes.
    Given(Vec<f64>),
}

impl ClassWeights {
    /// The weight of each class, if they differ.
    pub(crate) fn resolve(&self, rows: &[u32], classes: usize) -> Result<Option<Vec<f64>>, OptionsError> {
        match self {
            ClassWeights::Equal => Ok(None),
            ClassWeights::Balanced => Ok(Some(crate::balanced_class_weights(rows, classes))),
            ClassWeights::Given(weights) => {
                let found = weights.iter().filter(|weight| weight.is_finite() && **weight >= 0.0).count();
                if found == classes && weights.len() == classes {
                    Ok(Some(weights.clone()))
                } else {
                    Err(OptionsError::ClassWeights { classes, found })
                }
            }
        }
    }
}

impl Default for TrainingOptions {
    fn default() -> Self {
        TrainingOptions {
            epochs: 100,
            batch_size: 64,
            learning_rate: 1e-3,
            optimiser: OptimiserName::AdamW,
            l2: 0.0,
            weight_decay: None,
            momentum: 0.9,
            gradient_clip: None,
            patience: Some(10),
            class_weights: ClassWeights::Equal,
            label_smoothing: 0.0,
            huber_delta: None,
            loss_weights: LossWeights::default(),
        }
    }
}

/// The decoupled decay of `adamw` if none is given.
const DEFAULT_DECAY: f64 = 0.01;

impl TrainingOptions {
    /// Checks what the schema cannot say.
    ///
    /// # Errors
    /// The first thing wrong.
    pub fn check(&self) -> Result<(), OptionsError> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let from_zero = |value: f64| value.is_finite() && value >= 0.0;
        let share = |value: f64| (0.0..1.0).contains(&value);
        let LossWeights { joint, default_modality, ref modalities } = self.loss_weights;
        let checks: [(&'static str, f64, bool, &'static str); 11] = [
            ("epochs", self.epochs as f64, self.epochs > 0, "at least 1"),
            ("batch_size", self.batch_size as f64, self.batch_size > 0, "at least 1"),
            ("learning_rate", self.learning_rate, positive(self.learning_rate), "more than 0"),
            ("l2", self.l2, from_zero(self.l2), "at least 0"),
            ("weight_decay", self.decay(), from_zero(self.decay()), "at least 0"),
            ("momentum", self.momentum, share(self.momentum), "at least 0 and less than 1"),
            ("label_smoothing", self.label_smoothing, share(self.label_smoothing), "at least 0 and less than 1"),
            (
                "gradient_clip",
                self.gradient_clip.unwrap_or(1.0),
                self.gradient_clip.is_none_or(positive),
                "more than 0",
            ),
            ("huber_delta", self.huber_delta.unwrap_or(1.0), self.huber_delta.is_none_or(positive), "more than 0"),
            ("loss_weights.joint", joint, positive(joint), "more than 0"),
            ("loss_weights.default_modality", default_modality, from_zero(default_modality), "at least 0"),
        ];
        for (name, found, good, expected) in checks {
            if !good {
                return Err(OptionsError::Range { name, found, expected });
            }
        }
        if let Some((modality, &found)) = modalities.iter().find(|(_, weight)| !from_zero(**weight)) {
            return Err(OptionsError::LossWeight { modality: modality.clone(), found });
        }
        if self.patience == Some(0) {
            return Err(OptionsError::Range { name: "patience", found: 0.0, expected: "at least 1" });
        }
        if self.optimiser != OptimiserName::AdamW && self.weight_decay.is_some_and(|decay| decay > 0.0) {
            return Err(OptionsError::Decay);
        }
        Ok(())
    }

    fn decay(&self) -> f64 {
        let default = if self.optimiser == OptimiserName::AdamW { DEFAULT_DECAY } else { 0.0 };
        self.weight_decay.unwrap_or(default)
    }

    pub(crate) fn optimiser_settings(&self) -> OptimiserSettings {
        let rule = match self.optimiser {
            OptimiserName::Adam | OptimiserName::AdamW => Rule::ADAM,
            OptimiserName::Sgd => Rule::Sgd { momentum: self.momentum },
        };
        OptimiserSettings { rule, l2: self.l2, decay: self.decay(), largest_norm: self.gradient_clip }
    }

    pub(crate) fn residual(&self) -> Residual {
        self.huber_delta.map_or(Residual::Squared, |delta| Residual::Huber { delta })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(change: impl Fn(&mut TrainingOptions)) -> String {
        let mut options = TrainingOptions::default();
        change(&mut options);
        options.check().expect_err("something is wrong").to_string()
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        assert_eq!(TrainingOptions::default().check(), Ok(()));
        assert_eq!(error(|options| options.batch_size = 0), "`batch_size` is 0, expected at least 1");
        assert_eq!(error(|options| options.learning_rate = -1.0), "`learning_rate` is -1, expected more than 0");
        assert_eq!(error(|options| options.learning_rate = f64::NAN), "`learning_rate` is NaN, expected more than 0");
        assert_eq!(error(|options| options.momentum = 1.0), "`momentum` is 1, expected at least 0 and less than 1");
        assert_eq!(error(|options| options.patience = Some(0)), "`patience` is 0, expected at least 1");
        assert_eq!(error(|options| options.gradient_clip = Some(0.0)), "`gradient_clip` is 0, expected more than 0");
        let joint = error(|options| options.loss_weights.joint = 0.0);
        assert_eq!(joint, "`loss_weights.joint` is 0, expected more than 0");
        let modality = error(|options| {
            options.loss_weights.modalities.insert("words".to_string(), -1.0);
        });
        assert_eq!(modality, "the loss of `words` has the weight -1, expected a finite number from 0");
    }

    #[test]
    fn a_modality_has_its_own_weight_or_the_default() {
        let weights: LossWeights = serde_json::from_str(r#"{"modalities": {"words": 2}}"#).expect("they are sound");
        assert_eq!((weights.modality("words"), weights.modality("rows"), weights.joint), (2.0, 0.3, 1.0));
        assert_eq!(weights.check_names(["rows", "words"].into_iter()), Ok(()));
        let error = weights.check_names(["rows"].into_iter()).expect_err("there are no words").to_string();
        assert_eq!(error, "the loss of `words` has a weight, but the model has no encoder of that name");
    }

    #[test]
    fn decay_belongs_to_adamw() {
        let decay = |optimiser, weight_decay| {
            let options = TrainingOptions { optimiser, weight_decay, ..Default::default() };
            options.check().map(|()| options.optimiser_settings().decay)
        };
        assert_eq!(decay(OptimiserName::AdamW, None), Ok(0.01));
        assert_eq!(decay(OptimiserName::AdamW, Some(0.2)), Ok(0.2));
        assert_eq!(decay(OptimiserName::Adam, None), Ok(0.0));
        assert_eq!(decay(OptimiserName::Sgd, Some(0.0)), Ok(0.0));
        assert_eq!(decay(OptimiserName::Adam, Some(0.1)), Err(OptionsError::Decay));
    }

    #[test]
    fn options_are_read_with_their_defaults_and_unknown_ones_are_refused() {
        let options: TrainingOptions =
            serde_json::from_str(r#"{"epochs": 5, "optimiser": "adam", "class_weights": {"given": [1, 2]}}"#)
                .expect("they are sound");
        assert_eq!((options.epochs, options.batch_size), (5, 64));
        assert_eq!(options.class_weights.resolve(&[0, 1], 2), Ok(Some(vec![1.0, 2.0])));
        let error = options.class_weights.resolve(&[0, 1], 3).expect_err("there are two");
        assert_eq!(
            error.to_string(),
            "`class_weights` holds 2 weights for 3 classes, expected one number from 0 for each"
        );
        assert!(serde_json::from_str::<TrainingOptions>(r#"{"epoch": 5}"#).is_err());
    }
}
