//! The figures of one set of questions: recall, reciprocal rank, discounted gain, how often nothing is offered, how far confidence can be
//! believed, and the time it takes.
//!
//! Of every group of right tools one counts. R@k is the share of a question's groups in the first k results; MRR is one over the place of
//! the first right tool; nDCG@10 gives each group its gain once, over the gain of all groups in the first places (Järvelin and Kekäläinen
//! 2002). Best results are put into ten bins by how likely they are told to be right; the expected calibration error is how far that is from
//! the share that is right, on average (Naeini and others 2015). The mean over questions is told for each, and over sets the mean of their means.

use std::time::Duration;

use serde_json::{Value, json};

/// As deep as ranks are looked at for the gain.
const DEPTH: usize = 10;

/// Bins of confidence.
const BINS: usize = 10;

/// What was measured of one set.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    /// The set.
    pub(super) name: String,
    /// Tools of the catalogue, where there is one.
    pub(super) tools: Option<usize>,
    /// Questions asked.
    pub(super) questions: usize,
    /// Sums of R@1, R@5, R@10, MRR and nDCG@10.
    sums: [f64; 5],
    /// Questions for which nothing was offered.
    nothing: f64,
    /// Questions asked again without their right tools, and how many of them were offered nothing.
    unanswerable: (usize, f64),
    /// Best results by how likely they were told to be right.
    bins: [Bin; BINS],
    /// The mean of the sets' errors, of a mean.
    calibration_error: Option<f64>,
    /// Milliseconds each question took.
    took: Vec<f64>,
}

/// Results that were told with about the same confidence.
#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    results: f64,
    /// The sum of what was told.
    told: f64,
    right: f64,
}

impl Figures {
    pub(super) fn of(name: &str, tools: Option<usize>) -> Self {
        Self { name: name.to_owned(), tools, ..Self::default() }
    }

    /// Counts one answer.
    pub(super) fn add(&mut self, found: &[String], groups: &[Vec<String>], took: Duration) {
        for (sum, figure) in self.sums.iter_mut().zip(figures(found, groups)) {
            *sum += figure;
        }
        self.questions += 1;
        self.nothing += f64::from(found.is_empty());
        self.took.push(took.as_secs_f64() * 1e3);
    }

    /// Counts one answer to a question that has none.
    pub(super) fn add_unanswerable(&mut self, nothing: bool) {
        self.unanswerable.0 += 1;
        self.unanswerable.1 += f64::from(nothing);
    }

    /// Counts the best result of one answer, to a question that has one or to one that has none.
    pub(super) fn add_told(&mut self, likely: f32, right: bool) {
        let bin = &mut self.bins[((likely * BINS as f32) as usize).min(BINS - 1)];
        bin.results += 1.0;
        bin.told += f64::from(likely);
        bin.right += f64::from(right);
    }

    fn results(&self) -> f64 {
        self.bins.iter().map(|bin| bin.results).sum()
    }

    /// How far what was told is from the share that was right, 0 to 1.
    pub(super) fn calibration_error(&self) -> Option<f64> {
        let results = self.results();
        let off: f64 = self.bins.iter().map(|bin| (bin.told - bin.right).abs()).sum();
        self.calibration_error.or_else(|| (results > 0.0).then(|| off / results))
    }

    /// R@1, R@5, R@10, MRR and nDCG@10.
    pub(super) fn shares(&self) -> [f64; 5] {
        self.sums.map(|sum| sum / self.questions.max(1) as f64)
    }

    /// The share of questions for which nothing was offered.
    pub(super) fn nothing(&self) -> f64 {
        self.nothing / self.questions.max(1) as f64
    }

    /// The same of those whose right tools had been taken out.
    pub(super) fn nothing_rightly(&self) -> Option<f64> {
        (self.unanswerable.0 > 0).then(|| self.unanswerable.1 / self.unanswerable.0 as f64)
    }

    /// Milliseconds that this share of the questions took at most.
    pub(super) fn took(&self, share: f64) -> f64 {
        let mut sorted = self.took.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get(((sorted.len() as f64 * share) as usize).min(last)).copied().unwrap_or_default()
    }

    /// The mean of sets, each counting as one; times are those of all questions.
    pub(super) fn mean(sets: &[Self]) -> Self {
        let mut mean = Self::of("mean", None);
        let count = sets.len().max(1) as f64;
        mean.questions = sets.iter().map(|set| set.questions).sum();
        let of_all = mean.questions as f64 / count;
        for set in sets {
            for (sum, share) in mean.sums.iter_mut().zip(set.shares()) {
                *sum += share * of_all;
            }
            mean.nothing += set.nothing() * of_all;
            if let Some(share) = set.nothing_rightly() {
                mean.unanswerable.0 += 1;
                mean.unanswerable.1 += share;
            }
            let results = set.results().max(1.0);
            for (sum, bin) in mean.bins.iter_mut().zip(set.bins) {
                sum.results += bin.results / results;
                sum.told += bin.told / results;
                sum.right += bin.right / results;
            }
            mean.took.extend(&set.took);
        }
        let errors: Vec<f64> = sets.iter().filter_map(Self::calibration_error).collect();
        mean.calibration_error = (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64);
        mean
    }

    pub(super) fn to_json(&self) -> Value {
        let [r1, r5, r10, mrr, ndcg] = self.shares().map(rounded);
        json!({
            "dataset": self.name, "tools": self.tools, "queries": self.questions, "R@1": r1, "R@5": r5, "R@10": r10, "MRR": mrr,
            "nDCG@10": ndcg, "abstained": rounded(self.nothing()), "abstained_without_answer": self.nothing_rightly().map(rounded),
            "calibration_error": self.calibration_error().map(rounded), "reliability": self.reliability(),
            "p50_ms": rounded(self.took(0.5)), "p99_ms": rounded(self.took(0.99)),
        })
    }
}

impl Figures {
    /// Of every bin that is not empty: the share of results in it, how likely they were told to be, and how many of them were right.
    fn reliability(&self) -> Value {
        let results = self.results();
        let of_bin = |(number, bin): (usize, &Bin)| {
            (bin.results > 0.0).then(|| {
                let [share, told, right] =
                    [bin.results / results, bin.told / bin.results, bin.right / bin.results].map(rounded);
                json!({"from": rounded(number as f64 / BINS as f64), "share": share, "told": told, "right": right})
            })
        };
        self.bins.iter().enumerate().filter_map(of_bin).collect()
    }
}

fn rounded(share: f64) -> f64 {
    (share * 10_000.0).round() / 10_000.0
}

/// R@1, R@5, R@10, MRR and nDCG@10 of one answer; `groups` is not empty.
fn figures(found: &[String], groups: &[Vec<String>]) -> [f64; 5] {
    let places: Vec<usize> = groups.iter().filter_map(|group| found.iter().position(|id| group.contains(id))).collect();
    let gain = |place: usize| 1.0 / ((place + 2) as f64).log2();
    let recall = |k: usize| places.iter().filter(|place| **place < k).count() as f64 / groups.len() as f64;
    let ideal: f64 = (0..groups.len().min(DEPTH)).map(gain).sum();
    let reached: f64 = places.iter().filter(|place| **place < DEPTH).map(|place| gain(*place)).sum();
    let first = places.iter().min().map_or(0.0, |place| 1.0 / (place + 1) as f64);
    [recall(1), recall(5), recall(10), first, reached / ideal]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    /// The same numbers as by hand; the second group is satisfied by either of its tools, and once.
    #[test]
    fn one_of_every_group_counts() {
        let found = ids(&["s/x", "s/a", "s/c", "s/b"]);
        let groups = [ids(&["s/a"]), ids(&["s/b", "s/c"])];
        let [r1, r5, r10, mrr, ndcg] = figures(&found, &groups);
        assert_eq!((r1, r5, r10, mrr), (0.0, 1.0, 1.0, 0.5));
        let expected = (1.0 / 3f64.log2() + 1.0 / 4f64.log2()) / (1.0 + 1.0 / 3f64.log2());
        assert!((ndcg - expected).abs() < 1e-12, "{ndcg} {expected}");
        assert_eq!(figures(&[], &groups), [0.0; 5]);
    }

    #[test]
    fn the_mean_of_sets_counts_each_set_once() {
        let mut one = Figures::of("one", None);
        one.add(&ids(&["s/a"]), &[ids(&["s/a"])], Duration::from_millis(1));
        let mut other = Figures::of("other", None);
        for _ in 0..3 {
            other.add(&[], &[ids(&["s/a"])], Duration::from_millis(3));
        }
        other.add_unanswerable(true);
        let mean = Figures::mean(&[one, other]);
        assert_eq!((mean.shares()[0], mean.nothing(), mean.nothing_rightly()), (0.5, 0.5, Some(1.0)));
        assert_eq!((mean.took(0.5), mean.took(0.0)), (3.0, 1.0));
    }

    #[test]
    fn confidence_is_off_by_what_is_told_beyond_what_is_right() {
        let mut one = Figures::of("one", None);
        assert_eq!((one.calibration_error(), one.reliability()), (None, json!([])));
        // Two of four are right where .75 was told, and the one that was told to be certain.
        [true, false, true, false].into_iter().for_each(|right| one.add_told(0.75, right));
        one.add_told(1.0, true);
        assert_eq!(one.calibration_error().map(rounded), Some(0.2));
        let told = |from: f64, share: f64, told: f64, right: f64| json!({"from": from, "share": share, "told": told, "right": right});
        assert_eq!(one.reliability(), json!([told(0.7, 0.8, 0.75, 0.5), told(0.9, 0.2, 1.0, 1.0)]));
        let mut other = Figures::of("other", None);
        other.add_told(0.0, false);
        let mean = Figures::mean(&[one, other]);
        assert_eq!(mean.calibration_error().map(rounded), Some(0.1));
        assert_eq!(mean.reliability()[0], told(0.0, 0.5, 0.0, 0.0), "every set counts as one");
    }
}
