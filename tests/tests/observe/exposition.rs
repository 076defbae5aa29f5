//! OpenMetrics text, read strictly: what Prometheus would refuse is refused.

use std::collections::{BTreeMap, BTreeSet};

/// One line.
#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// All of them.
pub struct Exposition {
    pub samples: Vec<Sample>,
}

impl Exposition {
    /// Reads it; says what is wrong.
    pub fn parse(text: &str) -> Result<Exposition, String> {
        let body = text.strip_suffix("# EOF\n").ok_or("it does not end in `# EOF`")?;
        let (mut kinds, mut samples) = (BTreeMap::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for line in body.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "TYPE", name, kind] => {
                    let before = kinds.insert(name.to_owned(), kind.to_owned());
                    before.map_or(Ok(()), |_| Err(format!("{name} has two types")))?;
                }
                ["#", "HELP" | "UNIT", ..] => {}
                _ => {
                    let sample = sample(line).ok_or_else(|| format!("no sample: {line}"))?;
                    is_typed(&kinds, &sample)?;
                    let key = format!("{} {:?}", sample.name, sample.labels);
                    seen.insert(key).then_some(()).ok_or_else(|| format!("twice: {line}"))?;
                    samples.push(sample);
                }
            }
        }
        let exposition = Exposition { samples };
        kinds
            .iter()
            .filter(|(_, kind)| *kind == "histogram")
            .try_for_each(|(name, _)| exposition.is_histogram(name))?;
        Ok(exposition)
    }

    /// The one sample with these labels among others.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &&Sample| {
            let same =
                |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|own| own == value);
            sample.name == name && labels.iter().all(same)
        };
        let mut found = self.samples.iter().filter(has);
        found.next().filter(|_| found.next().is_none()).map(|sample| sample.value)
    }

    /// Buckets only grow, and the last one is everything.
    fn is_histogram(&self, name: &str) -> Result<(), String> {
        for count in self.samples.iter().filter(|sample| sample.name == format!("{name}_count")) {
            let (mut below, mut last) = (f64::NEG_INFINITY, 0.0);
            for bucket in self.samples.iter().filter(|sample| sample.name == format!("{name}_bucket")) {
                let mut labels = bucket.labels.clone();
                let bound = labels.remove("le").ok_or("a bucket without a bound")?.replace("+Inf", "inf");
                if labels != count.labels {
                    continue;
                }
                let bound: f64 = bound.parse().map_err(|_| format!("{name}: bound {bound}"))?;
                (bound > below && bucket.value >= last)
                    .then_some(())
                    .ok_or(format!("{name} falls at {bound}"))?;
                (below, last) = (bound, bucket.value);
            }
            (below.is_infinite() && last == count.value)
                .then_some(())
                .ok_or(format!("{name} has no last bucket"))?;
        }
        Ok(())
    }
}

fn is_typed(kinds: &BTreeMap<String, String>, sample: &Sample) -> Result<(), String> {
    let suffixes: &[(&str, &[&str])] = &[
        ("gauge", &[""]),
        ("counter", &["_total"]),
        ("info", &["_info"]),
        ("histogram", &["_bucket", "_count", "_sum"]),
    ];
    let fits = suffixes.iter().any(|(kind, ends)| {
        let family = |end: &&str| sample.name.strip_suffix(*end).and_then(|family| kinds.get(family));
        ends.iter().any(|end| family(end).is_some_and(|own| own == kind))
    });
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let is_sound = is_name(&sample.name) && sample.labels.keys().all(|label| is_name(label));
    let is_counted = sample.value >= 0.0 || !sample.name.ends_with("_total");
    (fits && is_sound && is_counted).then_some(()).ok_or_else(|| format!("{} fits no type", sample.name))
}

fn sample(line: &str) -> Option<Sample> {
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, rest)) = head.split_once('{') else {
        return Some(Sample { name: head.to_owned(), labels: BTreeMap::new(), value });
    };
    let mut labels = BTreeMap::new();
    for pair in rest.strip_suffix('}')?.split(',') {
        let (label, text) = pair.split_once('=')?;
        let text = text.strip_prefix('"')?.strip_suffix('"')?;
        // None of ours needs an escape; one that does is no word of a fixed list.
        let is_plain = !text.contains(['"', '\\', '\n', '{', '}']);
        let is_new = labels.insert(label.to_owned(), text.to_owned()).is_none();
        (is_plain && is_new).then_some(())?;
    }
    Some(Sample { name: name.to_owned(), labels, value })
}

#[test]
fn what_prometheus_would_refuse_is_refused() {
    let good = "# HELP a b.\n# TYPE a counter\na_total{x=\"y\"} 1\n# TYPE h histogram\nh_sum 0.5\nh_count 2\n\
                h_bucket{le=\"0.1\"} 1\nh_bucket{le=\"+Inf\"} 2\n# EOF\n";
    assert_eq!(Exposition::parse(good).map(|read| read.samples.len()), Ok(5));
    for (from, to) in [
        ("# EOF\n", ""),
        ("a_total{", "a{"),
        ("a_total{x=\"y\"} 1", "a_total{x=\"y\"} -1"),
        ("a_total{x=\"y\"} 1", "a_total{x=\"y\"} 1\na_total{x=\"y\"} 2"),
        ("a_total{x=\"y\"} 1", "a_total{x=y} 1"),
        ("# TYPE a counter", "# TYPE a counter\n# TYPE a gauge"),
        ("h_bucket{le=\"+Inf\"} 2", "h_bucket{le=\"+Inf\"} 3"),
        ("h_bucket{le=\"0.1\"} 1", "h_bucket{le=\"0.1\"} 3"),
        ("h_bucket{le=\"+Inf\"} 2\n", ""),
    ] {
        assert!(good.contains(from));
        assert!(Exposition::parse(&good.replace(from, to)).is_err(), "{to}");
    }
}
