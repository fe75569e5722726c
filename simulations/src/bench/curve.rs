//! `cargo sim curve`: who holds an update when, as numbers or as a drawing.

use std::fmt::Write as _;
use std::time::Duration;

use super::spread::update;
use super::{LAN, WAN, zone};

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Nodes of the zone.
    pub nodes: u32,
    /// Updates, one line each.
    pub updates: u32,
    /// Share of messages that are lost for good.
    pub loss: f64,
    /// Links of 10 to 80 ms instead of 0.5 to 2 ms.
    pub wan: bool,
    /// Of everything that is drawn by chance.
    pub seed: u64,
}

/// The curves of some updates of one zone.
#[derive(Clone, Debug)]
pub struct Curves {
    options: Options,
    /// Of each update: when each host held it, sorted.
    times: Vec<Vec<Duration>>,
}

/// Lets updates spread, one after the other.
pub fn curves(options: Options) -> Curves {
    let (mut world, hosts) = zone(options.nodes, options.seed);
    world.weather.latency = if options.wan { WAN } else { LAN };
    world.weather.drop = (options.loss.clamp(0.0, 0.9) * 1000.0).round() as u64;
    let times = (0..options.updates).map(|number| {
        update(&mut world, &hosts, number);
        let times = world.spread().map(crate::world::Spread::times).unwrap_or_default();
        world.run_for(Duration::from_millis(500));
        let first = times.first().copied().unwrap_or_default();
        times.into_iter().map(|time| time - first).collect()
    });
    Curves { options, times: times.collect() }
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const MARGIN: f64 = 48.0;

impl Curves {
    fn about(&self) -> String {
        let Options { nodes, updates, loss, wan, seed } = self.options;
        let links = if wan { "10–80 ms" } else { "0.5–2 ms" };
        format!(
            "{updates} updates in a zone of {nodes}, links {links}, {:.0} % of messages lost, seed {seed}",
            loss * 100.0
        )
    }

    /// When that share of all hosts held an update, of each.
    fn reached(&self, share: f64) -> impl Iterator<Item = f64> {
        let wanted = ((f64::from(self.options.nodes) * share).ceil() as usize).max(1);
        self.times.iter().map(move |times| super::ms(times.get(wanted - 1).copied()))
    }

    /// Shares and times, one line each.
    pub fn table(&self) -> String {
        let mut text = format!("{}\n  held by        mean        worst\n", self.about());
        for share in [0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let (mean, worst) = (super::mean(self.reached(share)), super::most(self.reached(share)));
            let _ = writeln!(text, "  {:>6.1} % {mean:>9.1} ms {worst:>9.1} ms", share * 100.0);
        }
        text
    }

    /// The same as a drawing: time to the right, share of the hosts upwards, a line for each update.
    pub fn svg(&self) -> String {
        let end = self.times.iter().flatten().max().map_or(1.0, |time| time.as_secs_f64() * 1e3).max(1.0);
        let x = |ms: f64| MARGIN + ms / end * (WIDTH - 2.0 * MARGIN);
        let y = |share: f64| HEIGHT - MARGIN - share * (HEIGHT - 2.0 * MARGIN);
        let mut svg = format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>
<text x="{MARGIN}" y="24">{}</text>
"##,
            self.about()
        );
        for share in [0.0, 0.5, 0.9, 1.0] {
            let at = y(share);
            let _ = writeln!(
                svg,
                r##"<line x1="{MARGIN}" y1="{at:.1}" x2="{:.1}" y2="{at:.1}" stroke="#ccc"/><text x="4" y="{:.1}">{:.0} %</text>"##,
                WIDTH - MARGIN,
                at + 4.0,
                share * 100.0
            );
        }
        for part in 0..=4 {
            let ms = end * f64::from(part) / 4.0;
            let _ = writeln!(svg, r#"<text x="{:.1}" y="{}">{ms:.0} ms</text>"#, x(ms) - 12.0, HEIGHT - MARGIN / 2.0);
        }
        for times in &self.times {
            let points = times.iter().enumerate().map(|(held, time)| {
                let share = (held + 1) as f64 / f64::from(self.options.nodes);
                format!("{:.1},{:.1}", x(time.as_secs_f64() * 1e3), y(share))
            });
            // Points of one place are one.
            let mut points: Vec<String> = points.collect();
            points.dedup();
            let _ = writeln!(
                svg,
                r##"<polyline fill="none" stroke="#0a58ca" stroke-opacity="0.5" points="{}"/>"##,
                points.join(" ")
            );
        }
        svg + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_ends_where_all_hold_the_update() {
        let options = Options { nodes: 12, updates: 2, loss: 0.0, wan: false, seed: 1 };
        let curves = curves(options);
        assert!(curves.times.iter().all(|times| times.len() == 12 && times[0].is_zero()));
        assert!(curves.table().contains(" 100.0 % "));
        let svg = curves.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
}
