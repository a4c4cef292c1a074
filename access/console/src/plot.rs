//! Small curves: one series over the last minutes, in an SVG of 100 by 24 without words. The figures stand beside it as text.

/// A curve and what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plot {
    /// For a polyline.
    pub line: String,
    /// The last value and the largest one, as written.
    pub now: String,
    pub most: String,
}

/// The size of the drawing.
const WIDTH: f64 = 100.0;
const HEIGHT: f64 = 24.0;
/// Room for the width of the line.
const EDGE: f64 = 1.0;

impl Plot {
    /// Of values, oldest first; `write` puts one into words.
    #[must_use]
    pub fn of(values: &[f64], write: impl Fn(f64) -> String) -> Self {
        let most = values.iter().copied().fold(0.0_f64, f64::max);
        let now = values.last().copied().unwrap_or(0.0);
        Self { line: line(values, most), now: write(now), most: write(most) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred points")]
fn line(values: &[f64], most: f64) -> String {
    let step = WIDTH / (values.len().saturating_sub(1).max(1)) as f64;
    let height = HEIGHT - 2.0 * EDGE;
    let point = |(at, value): (usize, &f64)| {
        let share = if most > 0.0 { value / most } else { 0.0 };
        format!("{:.1},{:.1}", at as f64 * step, HEIGHT - EDGE - share * height)
    };
    values.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_reaches_the_top() {
        let plot = Plot::of(&[0.0, 5.0, 10.0], |value| format!("{value}"));
        assert_eq!(plot.line, "0.0,23.0 50.0,12.0 100.0,1.0");
        assert_eq!((plot.now.as_str(), plot.most.as_str()), ("10", "10"));
        assert_eq!(Plot::of(&[0.0, 0.0], |value| format!("{value}")).line, "0.0,23.0 100.0,23.0");
        assert_eq!(Plot::of(&[], |value| format!("{value}")).line, "");
    }
}
