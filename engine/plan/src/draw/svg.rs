//! The picture as SVG that stands alone.

use std::fmt::Write;

use engine_core::ArtifactKind;

use super::layout::{Graph, lay_out};
use super::{Picture, caption, colours};
use crate::{Outlook, Plan, Preview};

/// Mean width of a character at the size of names and of captions.
const NAME_WIDTH: f64 = 7.6;
const CAPTION_WIDTH: f64 = 6.1;
const HEIGHT: f64 = 44.0;
const LEGEND_HEIGHT: f64 = 28.0;

/// The graph as an SVG image.
pub fn svg(plan: &Plan, preview: Option<&Preview>) -> String {
    let picture = Picture::of(plan, preview);
    let sizes = picture.shapes.iter().map(|shape| {
        let name = shape.node.chars().count() as f64 * NAME_WIDTH;
        let caption = caption(shape).chars().count() as f64 * CAPTION_WIDTH;
        (name.max(caption).max(60.0) + 24.0, HEIGHT)
    });
    let graph =
        Graph { sizes: sizes.collect(), arrows: picture.arrows.iter().map(|arrow| (arrow.from, arrow.to)).collect() };
    let layout = lay_out(&graph);
    let legend = if preview.is_some() { LEGEND_HEIGHT } else { 0.0 };
    let (width, height) = (layout.size.0.max(300.0), layout.size.1 + legend);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"Helvetica, Arial, sans-serif\" role=\"img\">"
    );
    let _ = writeln!(text, "<title>{}</title>", entity(&plan.pipeline));
    text.push_str(
        "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#777777\"/></marker></defs>\n",
    );
    let _ = writeln!(text, "<rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#ffffff\"/>");
    for (arrow, way) in picture.arrows.iter().zip(&layout.ways) {
        let dash = if arrow.carries == ArtifactKind::Table { "" } else { " stroke-dasharray=\"5 4\"" };
        let title = entity(&format!(
            "{} -> {}: {}",
            picture.shapes[arrow.from].node, picture.shapes[arrow.to].node, arrow.carries
        ));
        let _ = writeln!(
            text,
            "<path d=\"{}\" fill=\"none\" stroke=\"#777777\" stroke-width=\"1.3\"{dash} marker-end=\"url(#tip)\">\
             <title>{title}</title></path>",
            curve(way)
        );
    }
    for (shape, ((x, y), (width, height))) in picture.shapes.iter().zip(layout.corners.iter().zip(&graph.sizes)) {
        let (fill, border) = colours(shape, preview.is_some());
        let outlook = shape.outlook.map(|outlook| format!(": {}", outlook.as_str())).unwrap_or_default();
        let middle = x + width / 2.0;
        let _ = writeln!(
            text,
            "<g><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"7\" \
             fill=\"{fill}\" stroke=\"{border}\" stroke-width=\"1.4\"/>\
             <text x=\"{middle:.1}\" y=\"{:.1}\" font-size=\"13\" font-weight=\"600\" text-anchor=\"middle\" \
             fill=\"#1f1f1f\">{}</text>\
             <text x=\"{middle:.1}\" y=\"{:.1}\" font-size=\"11\" text-anchor=\"middle\" fill=\"#555555\">{}</text></g>",
            entity(&format!("{} ({}){outlook}", shape.node, shape.kind)),
            y + 19.0,
            entity(&shape.node),
            y + 35.0,
            entity(&caption(shape)),
        );
    }
    if preview.is_some() {
        legend_into(&mut text, layout.size.1);
    }
    text.push_str("</svg>\n");
    text
}

fn legend_into(text: &mut String, top: f64) {
    let mut x = 24.0;
    for outlook in [Outlook::Hit, Outlook::Run, Outlook::MayRun] {
        let shape = super::Shape { node: String::new(), kind: String::new(), outlook: Some(outlook), instances: 0 };
        let (fill, border) = colours(&shape, true);
        let _ = writeln!(
            text,
            "<rect x=\"{x:.0}\" y=\"{:.1}\" width=\"14\" height=\"14\" rx=\"3\" fill=\"{fill}\" stroke=\"{border}\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" font-size=\"11\" fill=\"#555555\">{}</text>",
            top,
            x + 20.0,
            top + 11.0,
            outlook.as_str()
        );
        x += 90.0;
    }
}

/// A smooth curve through the points of a way, level at each of them.
fn curve(way: &[(f64, f64)]) -> String {
    let mut path = String::new();
    let Some(((x, y), rest)) = way.split_first() else { return path };
    let _ = write!(path, "M{x:.1} {y:.1}");
    let mut at = (*x, *y);
    for (x, y) in rest {
        let half = (x - at.0) / 2.0;
        let _ = write!(path, "C{:.1} {:.1} {:.1} {y:.1} {x:.1} {y:.1}", at.0 + half, at.1, x - half);
        at = (*x, *y);
    }
    path
}

fn entity(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
