//! Panels below each other: lines over a few places of an axis, and bars of stages on top of each other.

use super::svg::{Anchor, Svg};
use crate::bench::shown::number;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 250.0;
const TOP: f64 = 34.0;
const PLOT: f64 = 200.0;
const BELOW: f64 = 64.0;
/// Of a line of the legend.
const NAME: f64 = 18.0;
const GRID: &str = "#dddddd";
const AXIS: &str = "#666666";
/// After Okabe and Ito: told apart by colour-blind eyes, too.
const COLOURS: [&str; 8] =
    ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#999999", "#b8a800"];

/// Values of one series, one for each place of the axis.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub values: Vec<Option<f64>>,
}

/// A bar of stages on top of each other.
#[derive(Clone, Debug)]
pub struct Bar {
    pub name: String,
    pub stages: Vec<f64>,
}

#[derive(Clone, Debug)]
pub enum Panel {
    Lines { title: String, axis: String, places: Vec<String>, series: Vec<Series> },
    Bars { title: String, stages: Vec<String>, groups: Vec<(String, Vec<Bar>)> },
}

impl Panel {
    #[must_use]
    pub fn shows_something(&self) -> bool {
        match self {
            Self::Lines { series, .. } => !series.is_empty(),
            Self::Bars { groups, .. } => !groups.is_empty(),
        }
    }

    /// The legend has room, however long it is.
    fn height(&self) -> f64 {
        let names = match self {
            Self::Lines { series, .. } => series.len(),
            Self::Bars { stages, .. } => stages.len(),
        };
        TOP + PLOT.max(NAME * names as f64) + BELOW
    }
}

/// Draws the panels.
#[must_use]
pub fn draw(panels: &[Panel]) -> String {
    let mut svg = Svg::new(WIDTH, panels.iter().map(Panel::height).sum::<f64>() + 10.0);
    let mut top = 0.0;
    for panel in panels {
        match panel {
            Panel::Lines { title, axis, places, series } => {
                svg.heading((LEFT, top + 20.0), title);
                lines(&mut svg, top + TOP, (axis, places), series);
            }
            Panel::Bars { title, stages, groups } => {
                svg.heading((LEFT, top + 20.0), title);
                bars(&mut svg, top + TOP, stages, groups);
            }
        }
        top += panel.height();
    }
    svg.finish()
}

/// The next of 1, 2, 2.5, 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    steps.map(|step| step * power).into_iter().find(|step| *step >= value).unwrap_or(value)
}

/// Lines of the grid and their numbers; what the axis ends with.
fn axis(svg: &mut Svg, top: f64, most: f64) -> f64 {
    let end = round_up(most);
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        let y = top + PLOT * (1.0 - share);
        svg.line((LEFT, y), (WIDTH - RIGHT, y), if step == 0 { AXIS } else { GRID });
        let value = if step == 0 { "0".to_owned() } else { number(end * share) };
        svg.text((LEFT - 8.0, y + 4.0), Anchor::End, &value);
    }
    end
}

fn legend(svg: &mut Svg, top: f64, names: &[&str]) {
    for (at, name) in names.iter().enumerate() {
        let y = top + NAME * at as f64;
        svg.rect((WIDTH - RIGHT + 20.0, y), (11.0, 11.0), colour(at));
        svg.text((WIDTH - RIGHT + 38.0, y + 10.0), Anchor::Start, name);
    }
}

fn colour(at: usize) -> &'static str {
    COLOURS[at % COLOURS.len()]
}

fn lines(svg: &mut Svg, top: f64, (name, places): (&str, &[String]), series: &[Series]) {
    let all = series.iter().flat_map(|one| one.values.iter().flatten());
    let end = axis(svg, top, all.copied().fold(0.0, f64::max));
    let room = WIDTH - LEFT - RIGHT;
    let x = |at: usize| LEFT + room * (at as f64 + 0.5) / places.len().max(1) as f64;
    for (at, place) in places.iter().enumerate() {
        svg.text((x(at), top + PLOT + 18.0), Anchor::Middle, place);
    }
    svg.text((LEFT + room / 2.0, top + PLOT + 36.0), Anchor::Middle, name);
    for (at, one) in series.iter().enumerate() {
        let points = one.values.iter().enumerate().filter_map(|(place, value)| {
            value.map(|value| (x(place), top + PLOT * (1.0 - value / end)))
        });
        svg.curve(&points.collect::<Vec<_>>(), colour(at));
    }
    legend(svg, top, &series.iter().map(|one| one.name.as_str()).collect::<Vec<_>>());
}

fn bars(svg: &mut Svg, top: f64, stages: &[String], groups: &[(String, Vec<Bar>)]) {
    let sum = |bar: &Bar| bar.stages.iter().sum::<f64>();
    let most = groups.iter().flat_map(|(_, bars)| bars.iter().map(sum)).fold(0.0, f64::max);
    let end = axis(svg, top, most);
    // Between groups there is room for one more bar.
    let slots: usize = groups.iter().map(|(_, bars)| bars.len() + 1).sum();
    let slot = (WIDTH - LEFT - RIGHT) / slots.max(1) as f64;
    let mut x = LEFT + slot / 2.0;
    for (name, bars) in groups {
        let middle = x + slot * bars.len() as f64 / 2.0;
        for bar in bars {
            let mut bottom = top + PLOT;
            for (at, value) in bar.stages.iter().enumerate() {
                let height = PLOT * value / end;
                bottom -= height;
                svg.rect((x + slot * 0.1, bottom), (slot * 0.8, height), colour(at));
            }
            svg.text((x + slot / 2.0, top + PLOT + 16.0), Anchor::Middle, &bar.name);
            svg.text((x + slot / 2.0, bottom - 4.0), Anchor::Middle, &number(sum(bar)));
            x += slot;
        }
        // In two lines, so that neighbours have room.
        let (first, second) = name.rsplit_once(", ").unwrap_or((name, ""));
        svg.text((middle, top + PLOT + 34.0), Anchor::Middle, first);
        svg.text((middle, top + PLOT + 49.0), Anchor::Middle, second);
        x += slot;
    }
    legend(svg, top, &stages.iter().map(String::as_str).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_with_round_numbers() {
        let ends = [0.0, 0.7, 1.0, 1.1, 2.3, 30.0, 51.0, 999.0].map(round_up);
        assert_eq!(ends, [1.0, 1.0, 1.0, 2.0, 2.5, 50.0, 100.0, 1000.0]);
    }

    #[test]
    fn every_stage_of_every_bar_is_drawn() {
        let bar = |name: &str| Bar { name: name.into(), stages: vec![1.0, 3.0] };
        let groups = vec![("puts".to_owned(), vec![bar("1"), bar("3")])];
        let stages = vec!["edge".to_owned(), "fsync".to_owned()];
        let text = draw(&[Panel::Bars { title: "t".into(), stages, groups }]);
        // Four for the bars, one for each name, one for the ground.
        assert_eq!(text.matches("<rect").count(), 4 + 2 + 1);
        // Above both bars; the axis ends at 5.
        assert_eq!(text.matches(">4.00</text>").count(), 2);
    }
}
