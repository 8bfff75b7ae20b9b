//! Curves as inline SVG, drawn by plotters.
//!
//! The drawing names its colours through CSS variables (`--ink`, `--grid`, `--series-1` ..) that the page around it
//! sets for light and dark, and every curve has a dash pattern of its own, so that colour is never all that tells
//! two curves apart. plotters writes colours as numbers; it is given marker colours, which are replaced.

use engine_table::report::{Axis, LinesSection, Mark, Series};
use plotters::prelude::*;

use crate::markup::escape;
use crate::quantities::number;

/// Units of the drawing; the page scales it. Small, so that its text stays readable on a phone.
const SIZE: (u32, u32) = (520, 340);
/// plotters writes sizes divided by 1.24.
const FONT_SIZE: f64 = 13.0 * 1.24;
/// More points than pixels say nothing more.
const MOST_POINTS: usize = 1000;
/// Curves beyond this many share colours with earlier ones.
pub(crate) const SERIES_COLOURS: usize = 6;
const DASHES: [&str; SERIES_COLOURS] = ["", "7 4", "2 3", "9 3 2 3", "12 4", "4 2 1 2"];

const INK: RGBColor = RGBColor(2, 0, 0);
const GRID: RGBColor = RGBColor(2, 0, 1);
const FAINT: RGBColor = RGBColor(2, 0, 2);

fn marker(place: usize) -> RGBColor {
    RGBColor(1, 0, u8::try_from(place % SERIES_COLOURS).unwrap_or(0))
}

/// The curves of `section` as a figure with its legend; a sentence if there is nothing to draw.
pub(crate) fn lines_figure(section: &LinesSection) -> String {
    let series: Vec<(&Series, Vec<(f64, f64)>)> =
        section.series.iter().map(|series| (series, drawable(&series.points))).collect();
    let points = || series.iter().flat_map(|(_, points)| points.iter().copied());
    let ranges = (range(&section.x, points().map(|(x, _)| x)), range(&section.y, points().map(|(_, y)| y)));
    let (Some(x), Some(y)) = ranges else {
        return "<p class=\"empty\">no points to draw</p>\n".to_owned();
    };
    let drawn = match draw(section, &series, x, y) {
        Ok(drawn) => drawn,
        Err(error) => return format!("<p class=\"empty\">cannot be drawn: {}</p>\n", escape(&error)),
    };
    format!("<figure>\n{}\n{}</figure>\n", with_variables(&drawn, &spoken(section)), legend(&section.series))
}

/// The finite points, thinned out evenly; first and last stay.
fn drawable(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let finite: Vec<(f64, f64)> = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    if finite.len() <= MOST_POINTS {
        return finite;
    }
    let last = finite.len() - 1;
    (0..MOST_POINTS).map(|place| finite[place * last / (MOST_POINTS - 1)]).collect()
}

/// What an axis shows: its own range, else that of the points with a little air; `None` if there is no such range.
fn range(axis: &Axis, values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values {
        low = low.min(value);
        high = high.max(value);
    }
    if low > high {
        return None;
    }
    if let Some((from, to)) = axis.range.filter(|(from, to)| from < to && from.is_finite() && to.is_finite()) {
        return Some((from, to));
    }
    let size = low.abs().max(high.abs());
    let span = high - low;
    let air = if span > size * 1e-9 { span * 0.03 } else { (size * 0.1).max(0.5) };
    let (low, high) = (low - air, high + air);
    (low.is_finite() && high.is_finite() && (high - low).is_finite()).then_some((low, high))
}

fn draw(
    section: &LinesSection,
    series: &[(&Series, Vec<(f64, f64)>)],
    x: (f64, f64),
    y: (f64, f64),
) -> Result<String, String> {
    let mut svg = String::new();
    draw_into(&mut svg, section, series, x, y).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn draw_into(
    svg: &mut String,
    section: &LinesSection,
    series: &[(&Series, Vec<(f64, f64)>)],
    x: (f64, f64),
    y: (f64, f64),
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin_top(8)
        .margin_right(14)
        .x_label_area_size(46)
        .y_label_area_size(62)
        .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
    let font = |colour: &RGBColor| ("sans-serif", FONT_SIZE).into_font().color(colour);
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(FAINT)
        .label_style(font(&INK))
        .axis_desc_style(font(&INK))
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|value: &f64| tick(*value))
        .y_label_formatter(&|value: &f64| tick(*value))
        .x_desc(section.x.label.as_str())
        .y_desc(section.y.label.as_str())
        .draw()?;
    let mut place = 0;
    for (series, points) in series {
        let points = points.iter().copied();
        let colour = if series.mark == Mark::Reference { FAINT } else { marker(place) };
        match series.mark {
            Mark::Reference => {
                chart.draw_series(DashedLineSeries::new(points, 5, 4, FAINT.stroke_width(1)))?;
                continue;
            }
            Mark::Line => {
                chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
            }
            Mark::LineAndDots => {
                chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?;
                chart.draw_series(points.map(|point| Circle::new(point, 3, colour.filled())))?;
            }
            Mark::Dots => {
                chart.draw_series(points.map(|point| Circle::new(point, 2, colour.filled())))?;
            }
        }
        place += 1;
    }
    root.present()?;
    // Ends the borrow of `svg`: the backend writes its last tag when it goes.
    drop(chart);
    drop(root);
    Ok(())
}

/// A number at an axis: short, and 0 for what rounding left of it.
fn tick(value: f64) -> String {
    if value.abs() < 1e-12 {
        return "0".to_owned();
    }
    let text = number(value);
    if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// What a screen reader says in place of the picture.
fn spoken(section: &LinesSection) -> String {
    let names: Vec<&str> = section.series.iter().map(|series| series.name.as_str()).collect();
    let of = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    format!("{}, {} against {}{of}", section.title, section.y.label, section.x.label)
}

/// The drawing with its marker colours replaced, in a tag that scales and speaks.
fn with_variables(drawn: &str, spoken: &str) -> String {
    let body = drawn.split_once('>').map_or("", |(_, body)| body);
    let mut body = body.replace("<polyline ", "<polyline stroke-linejoin=\"round\" ");
    for (place, dashes) in DASHES.iter().enumerate() {
        let colour = format!("\"#0100{place:02X}\"");
        let variable = format!("\"var(--series-{})\"", place + 1);
        let dashed = if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
        body = body.replace(&format!("stroke={colour}"), &format!("stroke={variable}{dashed}"));
        body = body.replace(&colour, &variable);
    }
    for (colour, variable) in [("020000", "ink"), ("020001", "grid"), ("020002", "faint")] {
        body = body.replace(&format!("\"#{colour}\""), &format!("\"var(--{variable})\""));
    }
    let (width, height) = SIZE;
    let label = escape(spoken);
    format!("<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{}", body.trim())
}

/// The names of the curves, each with a piece of its line; nothing if the only curve has no name.
fn legend(series: &[Series]) -> String {
    if series.iter().all(|series| series.name.is_empty()) {
        return String::new();
    }
    let mut html = String::from("<figcaption><ul class=\"legend\">\n");
    let mut place = 0;
    for series in series {
        let name = escape(&series.name);
        let (colour, dashes) = match series.mark {
            Mark::Reference => ("var(--faint)".to_owned(), "5 4"),
            _ => {
                place += 1;
                let number = (place - 1) % SERIES_COLOURS;
                (format!("var(--series-{})", number + 1), DASHES[number])
            }
        };
        let sample = match series.mark {
            Mark::Dots => format!("<circle cx=\"14\" cy=\"5\" r=\"3\" fill=\"{colour}\"/>"),
            _ => {
                format!("<path d=\"M0 5H28\" stroke=\"{colour}\" stroke-width=\"2.5\" stroke-dasharray=\"{dashes}\"/>")
            }
        };
        html.push_str(&format!(
            "<li><svg width=\"28\" height=\"10\" aria-hidden=\"true\">{sample}</svg> {name}</li>\n"
        ));
    }
    html.push_str("</ul></figcaption>\n");
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(points: Vec<(f64, f64)>, mark: Mark) -> LinesSection {
        LinesSection {
            title: "ROC".into(),
            note: String::new(),
            x: Axis::share("false positive rate"),
            y: Axis::new("true positive rate"),
            series: vec![Series { name: "model <1>".into(), mark, points }],
        }
    }

    #[test]
    fn a_curve_is_svg_in_the_colours_of_the_page() {
        let html = lines_figure(&section(vec![(0.0, 0.0), (0.2, 0.7), (1.0, 1.0)], Mark::LineAndDots));
        assert!(html.contains("stroke=\"var(--series-1)\"") && html.contains("fill=\"var(--ink)\""), "{html}");
        assert!(!html.contains('#') && !html.contains("http"), "{html}");
        assert_eq!(html.matches("<circle").count(), 3);
        assert!(html.contains("false positive rate") && html.contains("model &lt;1&gt;"));
        assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
    }

    #[test]
    fn curves_differ_in_more_than_colour() {
        let mut two = section(vec![(0.0, 0.0), (1.0, 1.0)], Mark::Line);
        two.series.push(Series { name: "validation".into(), ..two.series[0].clone() });
        let html = lines_figure(&two);
        assert!(html.contains("stroke=\"var(--series-2)\" stroke-dasharray=\"7 4\""), "{html}");
    }

    #[test]
    fn nothing_finite_is_said_and_not_drawn() {
        for points in [vec![], vec![(f64::NAN, 0.0)], vec![(0.0, f64::INFINITY)]] {
            assert!(lines_figure(&section(points, Mark::Line)).contains("no points to draw"));
        }
    }

    #[test]
    fn every_finite_range_can_be_drawn() {
        for values in [[0.0, 0.0], [5.0, 5.0], [-1e-300, 1e-300], [1e300, 1e300], [-1e12, 1e12], [1.0, 1.0 + 1e-15]] {
            let html = lines_figure(&section(vec![(0.0, values[0]), (1.0, values[1])], Mark::Line));
            assert!(html.contains("<polyline"), "{values:?}: {html}");
        }
        let too_far = lines_figure(&section(vec![(0.0, -f64::MAX), (1.0, f64::MAX)], Mark::Line));
        assert!(too_far.contains("no points to draw"));
    }

    #[test]
    fn a_long_curve_is_thinned_and_keeps_its_ends() {
        let points: Vec<(f64, f64)> = (0..50_000).map(|x| (f64::from(x), 0.5)).collect();
        let thinned = drawable(&points);
        assert_eq!((thinned.len(), thinned[0], thinned[MOST_POINTS - 1]), (MOST_POINTS, points[0], points[49_999]));
    }
}
