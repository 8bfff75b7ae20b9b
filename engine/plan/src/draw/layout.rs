//! A layered layout: every arrow goes from left to right.
//!
//! Sugiyama's method in its simplest form: a shape's layer is the longest way to it; an arrow over several layers is
//! given a bend in each; the order within a layer follows the mean place of its neighbours, swept forth and back.

/// What is laid out, by places of shapes.
pub(super) struct Graph {
    /// Width and height of each shape.
    pub(super) sizes: Vec<(f64, f64)>,
    /// From and to.
    pub(super) arrows: Vec<(usize, usize)>,
}

/// Where everything goes.
pub(super) struct Layout {
    /// Upper left corner of each shape.
    pub(super) corners: Vec<(f64, f64)>,
    /// The points each arrow passes, from the right side of a shape to the left side of another.
    pub(super) ways: Vec<Vec<(f64, f64)>>,
    /// Width and height of the whole.
    pub(super) size: (f64, f64),
}

const MARGIN: f64 = 24.0;
const LAYER_GAP: f64 = 64.0;
const ROW_GAP: f64 = 22.0;
const SWEEPS: usize = 8;

/// A shape, or a bend of an arrow.
#[derive(Clone, Copy)]
struct Item {
    width: f64,
    height: f64,
    layer: usize,
}

pub(super) fn lay_out(graph: &Graph) -> Layout {
    let layers_of = longest_ways(graph);
    let mut items: Vec<Item> = graph
        .sizes
        .iter()
        .zip(&layers_of)
        .map(|((width, height), layer)| Item { width: *width, height: *height, layer: *layer })
        .collect();
    // Each arrow as a chain of items, one a layer.
    let chains: Vec<Vec<usize>> = graph
        .arrows
        .iter()
        .map(|(from, to)| {
            let mut chain = vec![*from];
            for layer in layers_of[*from] + 1..layers_of[*to] {
                items.push(Item { width: 0.0, height: 6.0, layer });
                chain.push(items.len() - 1);
            }
            chain.push(*to);
            chain
        })
        .collect();
    let count = items.iter().map(|item| item.layer + 1).max().unwrap_or(0);
    let mut layers: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (place, item) in items.iter().enumerate() {
        layers[item.layer].push(place);
    }
    order(&mut layers, &chains, items.len());
    place(&items, &layers, &chains, graph)
}

fn longest_ways(graph: &Graph) -> Vec<usize> {
    let mut layers = vec![0; graph.sizes.len()];
    // Arrows go from earlier to later shapes or not; as many rounds as shapes are enough in a graph without circles.
    for _ in 0..graph.sizes.len() {
        let mut is_settled = true;
        for (from, to) in &graph.arrows {
            if layers[*to] < layers[*from] + 1 {
                layers[*to] = layers[*from] + 1;
                is_settled = false;
            }
        }
        if is_settled {
            break;
        }
    }
    layers
}

/// Orders each layer by the mean place of the neighbours in the layer before, then after, and so on.
fn order(layers: &mut [Vec<usize>], chains: &[Vec<usize>], count: usize) {
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); count];
    for pair in chains.iter().flat_map(|chain| chain.windows(2)) {
        after[pair[0]].push(pair[1]);
        before[pair[1]].push(pair[0]);
    }
    let mut rank = vec![0.0; count];
    let number = |layer: &[usize], rank: &mut Vec<f64>| {
        for (place, item) in layer.iter().enumerate() {
            rank[*item] = (place as f64 + 0.5) / layer.len() as f64;
        }
    };
    layers.iter().for_each(|layer| number(layer, &mut rank));
    for sweep in 0..SWEEPS {
        let (neighbours, places): (&[Vec<usize>], Vec<usize>) = if sweep % 2 == 0 {
            (&before, (0..layers.len()).collect())
        } else {
            (&after, (0..layers.len()).rev().collect())
        };
        for place in places {
            let mean = |item: &usize| match neighbours[*item].as_slice() {
                [] => rank[*item],
                all => all.iter().map(|other| rank[*other]).sum::<f64>() / all.len() as f64,
            };
            let mut keyed: Vec<(f64, usize)> = layers[place].iter().map(|item| (mean(item), *item)).collect();
            // Stable: equal means keep their order, so the picture does not jump.
            keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
            layers[place] = keyed.into_iter().map(|(_, item)| item).collect();
            number(&layers[place], &mut rank);
        }
    }
}

fn place(items: &[Item], layers: &[Vec<usize>], chains: &[Vec<usize>], graph: &Graph) -> Layout {
    let heights: Vec<f64> = layers
        .iter()
        .map(|layer| {
            let gaps = layer.len().saturating_sub(1) as f64 * ROW_GAP;
            layer.iter().map(|item| items[*item].height).sum::<f64>() + gaps
        })
        .collect();
    let tallest = heights.iter().copied().fold(0.0, f64::max);
    let mut corners = vec![(0.0, 0.0); items.len()];
    let mut x = MARGIN;
    let mut widths = Vec::with_capacity(layers.len());
    for (layer, height) in layers.iter().zip(&heights) {
        let width = layer.iter().map(|item| items[*item].width).fold(0.0, f64::max);
        let mut y = MARGIN + (tallest - height) / 2.0;
        for item in layer {
            corners[*item] = (x + (width - items[*item].width) / 2.0, y);
            y += items[*item].height + ROW_GAP;
        }
        widths.push((x, width));
        x += width + LAYER_GAP;
    }
    let ways = chains
        .iter()
        .map(|chain| {
            let mut way = Vec::with_capacity(chain.len() * 2);
            for (step, item) in chain.iter().enumerate() {
                let (left, top) = corners[*item];
                let middle = top + items[*item].height / 2.0;
                let (start, width) = widths[items[*item].layer];
                if step == 0 {
                    way.push((left + items[*item].width, middle));
                } else if step + 1 == chain.len() {
                    way.push((left, middle));
                } else {
                    // A bend is as wide as its layer, so that the arrow passes between the shapes of the layer.
                    way.push((start, middle));
                    way.push((start + width, middle));
                }
            }
            way
        })
        .collect();
    corners.truncate(graph.sizes.len());
    let width = if layers.is_empty() { 2.0 * MARGIN } else { x - LAYER_GAP + MARGIN };
    Layout { corners, ways, size: (width, tallest + 2.0 * MARGIN) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(count: usize, arrows: &[(usize, usize)]) -> Graph {
        Graph { sizes: vec![(100.0, 40.0); count], arrows: arrows.to_vec() }
    }

    #[test]
    fn arrows_go_from_left_to_right_and_shapes_do_not_overlap() {
        let graph = graph(6, &[(0, 1), (0, 2), (1, 3), (2, 3), (3, 5), (0, 5), (4, 5)]);
        let layout = lay_out(&graph);
        for way in &layout.ways {
            assert!(way.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{way:?}");
        }
        for one in 0..6 {
            for other in one + 1..6 {
                let ((x, y), (u, v)) = (layout.corners[one], layout.corners[other]);
                assert!((x - u).abs() >= 100.0 || (y - v).abs() >= 40.0, "{one} and {other} overlap");
            }
        }
        assert!(layout.corners.iter().all(|(x, y)| *x + 100.0 <= layout.size.0 && *y + 40.0 <= layout.size.1));
    }

    #[test]
    fn a_long_arrow_passes_beside_the_shapes_between() {
        let graph = graph(3, &[(0, 1), (1, 2), (0, 2)]);
        let layout = lay_out(&graph);
        let (_, top) = layout.corners[1];
        let bend = layout.ways[2][1].1;
        assert!(bend < top || bend > top + 40.0);
    }

    #[test]
    fn crossings_that_can_be_avoided_are() {
        let graph = graph(4, &[(0, 3), (1, 2)]);
        let layout = lay_out(&graph);
        let is_above = |one: usize, other: usize| layout.corners[one].1 < layout.corners[other].1;
        assert_eq!(is_above(0, 1), is_above(3, 2));
    }
}
