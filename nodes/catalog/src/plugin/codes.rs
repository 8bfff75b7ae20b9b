//! The diagnostics of plug-ins, with their pages.

use engine_core::Code;

/// A `plugin.yaml` that is not as it should be.
pub static PLUGIN_MANIFEST: Code = Code {
    name: "plugin.manifest",
    summary: "a `plugin.yaml` that is not as it should be",
    explanation: "A plug-in is declared by the `plugin.yaml` in its folder. Unknown keys are errors there as everywhere. \
An option that names a column must be a text, or a list of texts, that is required or has a default. The types of \
columns are those of `types:`, with sizes known: `float`, `text`, `tensor[3]`. Pictures and sound cannot be read yet, \
and no option may be a path: whatever the plug-in reads beside rows stands in its folder, whose content keys it.\n\n\
```yaml\nfuseline: 1\nkind: acme.shout\nversion: 1.0.0\ndescription: Writes a text in capitals.\n\
command: [python3, main.py]\noptions:\n  type: object\n  required: [column]\n  properties:\n    \
column: {type: string, description: The text column.}\nread: [{option: column, type: text}]\n\
write: [{column: loud, type: text}]\neffect: row_local\n```",
};

/// A folder that holds no plug-in.
pub static PLUGIN_FOLDER: Code = Code {
    name: "plugin.folder",
    summary: "a folder under `plugins:` that holds no plug-in or cannot be read",
    explanation: "Each entry of `plugins:` is a folder with a `plugin.yaml` in it, relative to the pipeline's file. All \
files in it, but caches such as `__pycache__`, key what the plug-in computes, so all must be readable, and together be \
no more than 256 MiB in 10,000 files. Links to folders are refused, because what they lead to would not be keyed.\n\n\
```yaml\nplugins: [plugins/sentiment]   # holds plugins/sentiment/plugin.yaml\n```",
};

/// A name two kinds would have.
pub static PLUGIN_NAME: Code = Code {
    name: "plugin.name",
    summary: "a plug-in with the name of another kind",
    explanation: "A kind's name says what it does wherever it stands, so a plug-in replaces neither a built-in kind nor \
another plug-in. Begin its name with your own: `acme.sentiment`.",
};

/// An effect plug-ins do not have.
pub static PLUGIN_EFFECT: Code = Code {
    name: "plugin.effect",
    summary: "an effect that plug-ins do not have",
    explanation: "The effect says what a row's result may depend on. Plug-ins are `row_local` so far: row i out depends on \
row i in and nothing else, bit for bit, so that they run chunk by chunk. Those that learn (`fit`), need all rows \
(`whole`), or read or write outside the graph (`source`, `sink`) come later; until then such work is done by the \
built-in kinds, or before the pipeline. `fuseline plugin test FOLDER` shows whether a plug-in keeps the promise.",
};

/// A plug-in whose rows depend on each other.
pub static PLUGIN_NOT_ROW_LOCAL: Code = Code {
    name: "plugin.not_row_local",
    summary: "a plug-in whose result for a row depends on other rows, on their order or on chance",
    explanation: "`effect: row_local` promises that row i out depends on row i in and nothing else, bit for bit. The engine \
relies on it: it cuts tables into chunks where it likes, and takes stored results for rows it has seen. \
`fuseline plugin test` runs the same rows several times, cut in other places, in another order, and one at a time, and \
has found a row that came out differently. Usual causes: a mean or a rank over the rows at hand, a counter or a cache \
that goes on from chunk to chunk, random numbers, and sums of floats whose order depends on how many rows there are.\n\n\
What is learnt from all rows belongs into a kind that fits on train rows, or into a file in the plug-in's folder.",
};
