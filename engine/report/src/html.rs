//! A run as one HTML file that needs nothing else: no request, no script, inline style and pictures.
//!
//! Promises: every text is escaped, and the page forbids itself scripts and requests by its own policy; readable
//! on a phone, in light and dark, by a screen reader (headings, table headers, spoken pictures).

use engine_core::{RunStatus, TaskStatus};
use engine_table::report::ReportPage;

use crate::markup::escape;
use crate::quantities::{count, number, seconds};
use crate::sections::section_html;
use crate::summary::{Comparison, MetricRow, NodeSummary, OVERLAP, RunSummary, interval_text, metric_rows};

const STYLE: &str = include_str!("page.css");

/// What a page shows besides what the run's events said.
#[derive(Debug, Clone, Default)]
pub struct RunPage<'a> {
    /// When the run began, as it is to be read.
    pub started: String,
    /// The command line.
    pub command: String,
    /// Further lines of the head: name and value, such as the revision of the source.
    pub facts: Vec<(String, String)>,
    /// The graph as an SVG element of this program's own making.
    pub graph: Option<&'a str>,
    /// The report artifacts, by node, in the order they are shown.
    pub reports: Vec<(String, ReportPage)>,
}

/// The page of a run.
pub fn run_html(summary: &RunSummary, page: &RunPage<'_>) -> String {
    let mut body = String::new();
    head(&mut body, summary, page);
    body.push_str("<main>\n");
    let failed: Vec<&NodeSummary> = summary.nodes.iter().filter(|node| node.status == TaskStatus::Failed).collect();
    if !failed.is_empty() {
        failures(&mut body, &failed);
    }
    if !summary.metrics.is_empty() {
        scores(&mut body, summary);
    }
    for (place, (node, report)) in page.reports.iter().enumerate() {
        report_part(&mut body, place, node, report);
    }
    if let Some(graph) = page.graph {
        graph_part(&mut body, graph);
    }
    nodes(&mut body, summary);
    body.push_str("</main>\n");
    document(&format!("{} · run {}", summary.pipeline, summary.run), &body)
}

/// A report artifact as a page of its own.
pub fn report_html(node: &str, report: &ReportPage) -> String {
    let mut body =
        format!("<header><p class=\"faint mono\">{}</p><h1>{}</h1></header>\n", escape(node), escape(&report.title));
    body.push_str("<main>\n<div class=\"sections\">\n");
    for section in &report.sections {
        body.push_str(&section_html(section));
    }
    body.push_str("</div>\n</main>\n");
    document(&report.title, &body)
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}\
         <footer>made by fuseline {}</footer>\n</body>\n</html>\n",
        escape(title),
        env!("CARGO_PKG_VERSION"),
    )
}

fn head(body: &mut String, summary: &RunSummary, page: &RunPage<'_>) {
    let (class, word) = match summary.status {
        Some(RunStatus::Succeeded) => ("good", "succeeded"),
        Some(RunStatus::Failed) => ("bad", "failed"),
        Some(RunStatus::Cancelled) => ("caution", "cancelled"),
        None => ("caution", "did not end"),
    };
    body.push_str(&format!("<header>\n<h1>{}</h1>\n", escape(&summary.pipeline)));
    body.push_str(&format!("<p><span class=\"status {class}\">{word}</span> in {}</p>\n", seconds(summary.seconds)));
    body.push_str("<dl class=\"facts\">\n");
    let own = [
        ("run", format!("<code>{}</code>", escape(&summary.run))),
        ("started", escape(&page.started)),
        ("nodes", escape(&summary.counts())),
        ("command", format!("<code>{}</code>", escape(&page.command))),
    ];
    let given = page.facts.iter().map(|(name, value)| (name.as_str(), escape(value)));
    for (name, value) in own.into_iter().chain(given).filter(|(_, value)| !value.is_empty() && value != "<code></code>")
    {
        body.push_str(&format!("<dt>{}</dt><dd>{value}</dd>\n", escape(name)));
    }
    body.push_str("</dl>\n<nav aria-label=\"parts of this page\"><ul>\n");
    if !summary.metrics.is_empty() {
        body.push_str("<li><a href=\"#scores\">scores</a></li>\n");
    }
    for (place, (node, _)) in page.reports.iter().enumerate() {
        body.push_str(&format!("<li><a href=\"#report-{place}\">{}</a></li>\n", escape(node)));
    }
    if page.graph.is_some() {
        body.push_str("<li><a href=\"#graph\">graph</a></li>\n");
    }
    body.push_str("<li><a href=\"#nodes\">nodes</a></li>\n</ul></nav>\n</header>\n");
}

fn failures(body: &mut String, failed: &[&NodeSummary]) {
    body.push_str("<h2>What failed</h2>\n");
    for node in failed {
        let why = node.reason.as_deref().unwrap_or("no reason was given");
        body.push_str(&format!(
            "<section class=\"part warning\"><h3>{}</h3><p class=\"why\">{}</p></section>\n",
            escape(&node.node),
            escape(why)
        ));
    }
}

fn scores(body: &mut String, summary: &RunSummary) {
    body.push_str("<h2 id=\"scores\">Scores</h2>\n");
    for (node, metrics) in &summary.metrics {
        let rows = metric_rows(metrics);
        let baselines = rows.iter().any(|row| row.baseline.is_some());
        body.push_str(&format!("<h3>{}</h3>\n<div class=\"scroll\"><table>\n<thead><tr>", escape(node)));
        body.push_str("<th scope=\"col\">metric</th><th scope=\"col\" class=\"number\">value</th>");
        body.push_str("<th scope=\"col\">95 % interval</th>");
        if baselines {
            body.push_str(
                "<th scope=\"col\" class=\"number\">trivial baseline</th><th scope=\"col\">95 % interval</th>",
            );
            body.push_str("<th scope=\"col\">against the baseline</th>");
        }
        body.push_str("</tr></thead>\n<tbody>\n");
        for row in &rows {
            score_row(body, row, baselines);
        }
        body.push_str("</tbody>\n</table></div>\n");
    }
}

fn score_row(body: &mut String, row: &MetricRow, baselines: bool) {
    body.push_str(&format!(
        "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td class=\"interval\">{}</td>",
        escape(&row.metric),
        number(row.value.value),
        interval_text(row.value)
    ));
    if baselines {
        let value = row.baseline.map(|baseline| number(baseline.value)).unwrap_or_default();
        let interval = row.baseline.map(interval_text).unwrap_or_default();
        let together = match row.comparison {
            Comparison::Apart => "<span class=\"good\">apart</span>".to_owned(),
            Comparison::Overlap => format!("<span class=\"caution\">{OVERLAP}</span>"),
            Comparison::Unknown => String::new(),
        };
        body.push_str(&format!(
            "<td class=\"number\">{value}</td><td class=\"interval\">{interval}</td><td>{together}</td>"
        ));
    }
    body.push_str("</tr>\n");
}

fn report_part(body: &mut String, place: usize, node: &str, report: &ReportPage) {
    body.push_str(&format!(
        "<h2 id=\"report-{place}\">{} <span class=\"faint mono\">{}</span></h2>\n<div class=\"sections\">\n",
        escape(&report.title),
        escape(node)
    ));
    for section in &report.sections {
        body.push_str(&section_html(section));
    }
    body.push_str("</div>\n");
}

fn graph_part(body: &mut String, graph: &str) {
    body.push_str("<h2 id=\"graph\">Graph</h2>\n<div class=\"scroll graph\" tabindex=\"0\">\n");
    // An XML declaration may stand before the element; anything else is shown as text.
    match graph.find("<svg") {
        Some(start) => body.push_str(graph[start..].trim_end()),
        None => body.push_str(&format!("<pre>{}</pre>", escape(graph))),
    }
    body.push_str("\n</div>\n");
}

fn nodes(body: &mut String, summary: &RunSummary) {
    body.push_str("<h2 id=\"nodes\">Nodes</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">node</th>");
    body.push_str("<th scope=\"col\">status</th><th scope=\"col\" class=\"number\">seconds</th>");
    body.push_str("<th scope=\"col\" class=\"number\">rows</th><th scope=\"col\">why</th></tr></thead>\n<tbody>\n");
    for node in &summary.nodes {
        let class = match node.status {
            TaskStatus::Hit | TaskStatus::NotChosen => "faint",
            TaskStatus::Ran => "good",
            TaskStatus::Failed => "bad",
            TaskStatus::Skipped | TaskStatus::Cancelled => "caution",
        };
        let time = if node.status == TaskStatus::Hit { String::new() } else { format!("{:.2}", node.seconds) };
        body.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td class=\"{class}\">{}</td><td class=\"number\">{time}</td>\
             <td class=\"number\">{}</td><td class=\"why\">{}</td></tr>\n",
            escape(&node.node),
            node.status.as_str(),
            node.rows.map(count).unwrap_or_default(),
            escape(node.reason.as_deref().unwrap_or_default()),
        ));
    }
    body.push_str("</tbody>\n</table></div>\n");
    if !summary.warnings.is_empty() {
        body.push_str("<h2>Warnings</h2>\n<ul>\n");
        for (task, message) in &summary.warnings {
            body.push_str(&format!("<li><span class=\"mono\">{}</span>: {}</li>\n", escape(task), escape(message)));
        }
        body.push_str("</ul>\n");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use engine_core::{Event, MetricValue};
    use engine_table::report::{
        Axis, Bar, BarsSection, Cell, LinesSection, Mark, MatrixSection, Section, Series, TableSection, Tone,
    };

    use super::*;

    const EVIL: &str = "<script>alert(\"1\")</script>";

    fn evil_page() -> String {
        let score = MetricValue { value: 0.8, low: Some(0.7), high: Some(0.9) };
        let mut summary = RunSummary::new();
        summary.add(&Event::RunStarted { run: EVIL.into(), pipeline: EVIL.into(), tasks: 1 });
        summary.add(&Event::TaskWarning { task: EVIL.into(), message: EVIL.into() });
        summary.add(&Event::TaskFinished {
            task: EVIL.into(),
            node: EVIL.into(),
            status: TaskStatus::Failed,
            seconds: 1.0,
            rows: Some(1),
            error: Some(EVIL.into()),
            reason: None,
        });
        summary.add(&Event::RunFinished {
            status: RunStatus::Failed,
            run: EVIL.into(),
            seconds: 1.0,
            nodes: BTreeMap::new(),
            metrics: BTreeMap::from([(
                EVIL.into(),
                BTreeMap::from([(EVIL.into(), score), (format!("baseline.{EVIL}"), score)]),
            )]),
        });
        let text = || EVIL.to_owned();
        let mut report = ReportPage::new(EVIL);
        report.sections = vec![
            Section::Text { title: text(), tone: Tone::Warning, paragraphs: vec![text()] },
            Section::Table(TableSection {
                title: text(),
                note: text(),
                columns: vec![text()],
                rows: vec![vec![Cell::text(EVIL)]],
            }),
            Section::Lines(LinesSection {
                title: text(),
                note: text(),
                x: Axis::new(EVIL),
                y: Axis::new(EVIL),
                series: vec![Series { name: text(), mark: Mark::Line, points: vec![(0.0, 1.0), (1.0, 2.0)] }],
            }),
            Section::Matrix(MatrixSection {
                title: text(),
                note: text(),
                row_label: text(),
                column_label: text(),
                row_names: vec![text()],
                column_names: vec![text()],
                counts: vec![vec![3]],
            }),
            Section::Bars(BarsSection {
                title: text(),
                note: text(),
                value_label: text(),
                bars: vec![Bar { name: text(), value: score }],
            }),
        ];
        let page = RunPage {
            started: text(),
            command: text(),
            facts: vec![(text(), text())],
            graph: Some("<?xml version=\"1.0\"?><svg viewBox=\"0 0 1 1\"></svg>"),
            reports: vec![(text(), report)],
        };
        run_html(&summary, &page)
    }

    #[test]
    fn no_name_becomes_markup() {
        let html = evil_page();
        assert!(!html.contains("<script"), "{html}");
        assert!(html.matches("&lt;script&gt;").count() > 20);
    }

    #[test]
    fn the_page_asks_for_nothing() {
        let html = evil_page();
        for asking in ["http://", "https://", "src=", "url(", "@import", "<link", "<?xml"] {
            assert!(!html.contains(asking), "{asking}");
        }
        assert!(html.contains("default-src 'none'"));
    }

    #[test]
    fn every_element_is_closed() {
        let html = evil_page();
        for tag in [
            "table", "thead", "tbody", "tr", "td", "th", "section", "div", "ul", "li", "svg", "figure", "dl", "p",
            "h2", "h3",
        ] {
            let opened = html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn a_report_has_a_page_of_its_own() {
        let html = report_html("quality", &ReportPage::new("classification of default"));
        assert!(html.starts_with("<!doctype html>") && html.contains("<h1>classification of default</h1>"));
    }
}
