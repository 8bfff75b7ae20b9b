//! The diagnostics of kinds that train, score and apply models, with their pages.

use engine_core::Code;

/// There is no target, or several.
pub static TARGET_MISSING: Code = Code {
    name: "target.missing",
    summary: "a trainer that does not know what to predict",
    explanation: "A trainer predicts the column named by `target`, or the only column with the role `target`. \
Give the column that role where it is ingested; with several such columns, name one.\n\n\
```yaml\nloans: {uses: ingest.csv, with: {path: loans.csv, roles: {default: target}}}\n\
risk:  {uses: train.multimodal, with: {target: default}, in: {encoders: [person]}}\n```",
};

/// The target has another role.
pub static TARGET_ROLE: Code = Code {
    name: "target.role",
    summary: "a target without the role `target`",
    explanation: "What is to be predicted must be marked where it is ingested, not only where it is predicted: \
selectors leave a target out, and the plan follows every column computed from it, so that none of them reaches a \
model's inputs.\n\n\
```yaml\nwith: {path: loans.csv, roles: {default: target}}\n```",
};

/// The target's type does not say what to learn, or cannot be learnt.
pub static TARGET_TASK: Code = Code {
    name: "target.task",
    summary: "a target whose type does not fit the task, or fits two",
    explanation: "With `task: auto`, a bool, category or text target makes a classification and a float target a \
regression. Whole numbers may be either (a class number, a count), so an int target needs `task: classification` or \
`task: regression`. Other types cannot be predicted; `clean.cast` or `extract.columns` makes a column that can.",
};

/// A model's column cannot become numbers.
pub static MODEL_COLUMN: Code = Code {
    name: "model.column",
    summary: "a column of a type or with gaps that a model cannot read as numbers",
    explanation: "A model over table columns reads `int`, `float`, `bool`, `category` and `tensor` columns.\n\n\
- Text, images and sound have encoders of their own; a text column of few values is a category: say so with `types:` \
where it is ingested, or with `clean.cast`.\n\
- A time becomes numbers with `extract.columns` (a year, a month, days since).\n\
- A number may not be missing: `clean.impute` fills gaps, and can add an indicator column that says where they were. \
A missing category needs no filling: it is read as an unknown value.",
};

/// A column that is not in the form an encoder takes.
pub static ENCODE_COLUMN: Code = Code {
    name: "encode.column",
    summary: "a column that an encoder of text, images or sound cannot read",
    explanation: "These encoders read numbers of a known size, which another node makes of the raw column:\n\n\
| encoder | reads | made by | of |\n|---|---|---|---|\n\
| `encode.text` | `tokens[n]` | `extract.tokenize` | text |\n\
| `encode.image` | `tensor[channels, height, width]` | `extract.image_tensor` | images |\n\
| `encode.sound` | `tensor[frames, mels]` | `extract.log_mel` | audio |\n\n\
Numbers, categories and plain vectors are read by `encode.table`.",
};

/// The option `present` names no column of truth values.
pub static ENCODE_PRESENT: Code = Code {
    name: "encode.present",
    summary: "a column that cannot say in which rows there is something to encode",
    explanation: "`present` names a bool column without gaps: true where the row has the text, image, sound or numbers \
that the encoder reads, false where it lacks them. The kinds that prepare media write such a column beside the one they \
make of a column with gaps, and the encoder finds it by its name, `COLUMN_present`.",
};

/// Layers that do not fit what they read.
pub static ENCODE_SHAPE: Code = Code {
    name: "encode.shape",
    summary: "an encoder whose layers do not fit what it reads, or each other",
    explanation: "Sizes are checked before a row is read. Every stage of a convolutional network halves height and width, \
so an image of 32 x 32 goes through five of them at most; the heads of a transformer share its width evenly. Take fewer \
stages, prepare larger images, or make the width a multiple of the heads.",
};

/// A weight for the loss of an encoder that the model does not have.
pub static LOSS_MODALITY: Code = Code {
    name: "loss.modality",
    summary: "a loss weight for an encoder that the trainer does not have",
    explanation: "`loss.modalities` gives weights to encoders by the names of their nodes, which must be among those on the \
port `encoders`. A trainer with one encoder has one loss, so there is nothing to weigh.\n\n\
```yaml\nwith: {target: label, loss: {joint: 1.0, modalities: {words: 0.5, photo: 0.2}}}\nin: {encoders: [words, photo]}\n```",
};

/// An option names an encoder that the trainer does not have, or leaves none.
pub static TRAIN_ENCODERS: Code = Code {
    name: "train.encoders",
    summary: "a choice of encoders with one that is not there, or with none left",
    explanation: "`without` and `only` of `train.multimodal`, and `encoders` of `evaluate.ablation`, name encoders by their \
nodes. Each must be on the trainer's port `encoders`, and at least one must be left to train.\n\n\
```yaml\nmodel: {uses: train.multimodal, in: {encoders: [words, photo, voice]}}\nquality: {uses: evaluate.classification, in: model}\n\
parts: {uses: evaluate.ablation, with: {encoders: [words, photo, voice]}, in: quality}\n```",
};

/// An ablation with no joint model above it.
pub static EVALUATE_ABLATION: Code = Code {
    name: "evaluate.ablation",
    summary: "an ablation with no `train.multimodal` above it",
    explanation: "`evaluate.ablation` trains the nearest `train.multimodal` above its scores again, each time with other \
encoders. Put it below a node that scores such a model.",
};

/// A table to be predicted lacks what the model reads.
pub static MODEL_TABLE: Code = Code {
    name: "model.table",
    summary: "a table that does not have the columns the model was trained on",
    explanation: "`predict.table` reads the same columns, with the same types, that the model's encoders read in \
training. Put the table through the same nodes, or give the node a list of tables that have the columns together.",
};

/// Options of an evaluation that do not fit the model.
pub static EVALUATE_MODEL: Code = Code {
    name: "evaluate.model",
    summary: "an evaluation of another sort of model",
    explanation: "`evaluate.classification` scores models that predict a class, `evaluate.regression` models that \
predict a number. The trainer decides which by the target's type and its option `task`.",
};

/// A cross-validation without folds.
pub static EVALUATE_FOLDS: Code = Code {
    name: "evaluate.folds",
    summary: "a cross-validation with no `split.folds` above it",
    explanation: "`evaluate.cross_validate` runs everything between the nearest `split.folds` and the scores once for \
each fold. Put `split.folds` in the place of the other split.\n\n\
```yaml\nfolds: {uses: split.folds, with: {folds: 5}, in: loans}\n\
...\nscores: {uses: evaluate.cross_validate, in: quality}\n```",
};

/// A tuning that would look at the test rows.
pub static TUNE_ON_TEST: Code = Code {
    name: "tune.on_test",
    summary: "a tuning that would choose by scores of the test rows",
    explanation: "Of many trials the one with the best score is chosen, so that score is too good for having been the \
best. If it were one of the test rows, no rows would be left to say how good the chosen model is. Let the scoring node \
score the validation rows, and score the tuned model on the test rows afterwards. Over folds, keep a share of test rows \
out of them: the fold in turn is validation then.\n\n\
```yaml\nsplit:   {uses: split.random, with: {shares: {train: 0.6, validation: 0.2, test: 0.2}}, in: loans}\n\
scored:  {uses: evaluate.classification, with: {on: validation}, in: risk}\n\
tuned:   {uses: tune.grid, with: {space: {risk.c: [0.1, 1]}, metric: roc_auc, goal: maximize}, in: {metrics: scored, model: risk}}\n\
quality: {uses: evaluate.classification, in: tuned}\n```",
};
