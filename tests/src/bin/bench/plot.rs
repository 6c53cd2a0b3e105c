//! Plots over the rate: what a watched server pays, and what the agent takes.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

/// One line of a plot: points of rate, median and spread.
pub struct Line {
    /// What the legend says.
    pub name: String,
    /// Rate, lower end of the spread, median, upper end.
    pub points: Vec<[f64; 4]>,
}

/// Colours that are told apart in print and by the colour-blind (Okabe and Ito).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// Writes an SVG with one plot.
pub fn draw(path: &Path, title: &str, unit: &str, lines: &[Line]) -> Result<(), Box<dyn Error>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let right = points().map(|[rate, ..]| *rate).fold(1.0, f64::max);
    let top = points().map(|[.., high]| *high).fold(0.001, f64::max) * 1.1;
    let area = SVGBackend::new(path, (720, 400)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..right * 1.03, 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("events a second")
        .y_desc(unit)
        .label_style(("sans-serif", 13))
        .max_light_lines(0)
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let medians = line.points.iter().map(|[rate, _, median, _]| (*rate, *median));
        chart
            .draw_series(LineSeries::new(medians, colour.stroke_width(2)))?
            .label(line.name.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(line.points.iter().map(|[rate, low, median, high]| {
            ErrorBar::new_vertical(*rate, *low, *median, *high, colour.filled(), 8)
        }))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(("sans-serif", 13))
        .background_style(WHITE)
        .border_style(RGBColor(200, 200, 200))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_shows_each_line_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plot.svg");
        let line = |name: &str, factor: f64| Line {
            name: name.into(),
            points: vec![[1000.0, factor, 2.0 * factor, 3.0 * factor], [4000.0, 1.0, 2.0, 3.0]],
        };
        draw(&path, "A title", "µs", &[line("alone", 1.0), line("watched", 2.0)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for part in ["<svg", "A title", "alone", "watched", "events a second", "polyline"] {
            assert!(text.contains(part), "{part}");
        }
    }
}
