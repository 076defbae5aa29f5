//! Whether a copy may become the log: a plain decision over what came of reading it.

use keywheel_audit::finding::Wrong;
use keywheel_audit::inspect::Inspection;

/// Why it may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Objection {
    /// It holds no message.
    Empty,
    /// Something is missing in it, or is not what somebody else saw.
    Damaged(String),
    /// It holds what no entitled service wrote, and nobody says that this stood in the log.
    Unconfirmed(String),
    /// Somebody has more of the log: by name, with the position up to which.
    Short(Vec<(String, u64)>),
}

/// What speaks against it. `copies` are other copies that are known, with their last positions.
pub(super) fn judge(inspection: &Inspection, copies: &[(String, u64)]) -> Option<Objection> {
    if inspection.messages == 0 {
        return Some(Objection::Empty);
    }
    let confirmed = inspection.agreed.values().copied().max().unwrap_or(0);
    let findings = &inspection.findings;
    let (mut short, mut unconfirmed) = (Vec::new(), None);
    for finding in findings.listed() {
        match &finding.wrong {
            Wrong::CutOff { by, seen } => short.push((by.clone(), *seen)),
            Wrong::NotBelieved(_) | Wrong::NotUnderstood(_) | Wrong::Discontinuous { .. } => {
                if finding.seq > confirmed {
                    unconfirmed.get_or_insert_with(|| finding.to_string());
                }
            }
            Wrong::Gap { .. }
            | Wrong::Backwards { .. }
            | Wrong::Contradicted { .. }
            | Wrong::AnotherLog(_)
            | Wrong::Unreadable(_) => return Some(Objection::Damaged(finding.to_string())),
        }
    }
    if findings.total() > findings.listed().len() as u64 && confirmed < inspection.last {
        unconfirmed.get_or_insert_with(|| format!("{} findings, too many to look at", findings.total()));
    }
    if let Some(why) = unconfirmed {
        return Some(Objection::Unconfirmed(why));
    }
    short.extend(copies.iter().filter(|(_, last)| *last > inspection.last).cloned());
    (!short.is_empty()).then_some(Objection::Short(short))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_audit::finding::Finding;

    fn copy(wrong: Vec<(u64, Wrong)>) -> Inspection {
        let mut inspection = Inspection { messages: 9, first: Some(1), last: 9, ..Inspection::default() };
        for (seq, wrong) in wrong {
            inspection.findings.push(Finding { seq, subject: None, wrong });
        }
        inspection
    }

    fn agreed(upto: u64, inspection: Inspection) -> Inspection {
        Inspection { agreed: [("edge e1".to_owned(), upto)].into(), ..inspection }
    }

    #[test]
    fn a_copy_that_is_whole_may_become_the_log() {
        assert_eq!(judge(&copy(Vec::new()), &[("e2".to_owned(), 9)]), None);
        assert_eq!(judge(&Inspection::default(), &[]), Some(Objection::Empty));
    }

    #[test]
    fn one_that_is_not_what_stood_there_may_not() {
        let by = || "edge e1".to_owned();
        for wrong in [
            Wrong::Gap { expected: 3 },
            Wrong::Backwards { after: 3 },
            Wrong::Contradicted { by: by() },
            Wrong::AnotherLog(by()),
            Wrong::Unreadable(by()),
        ] {
            let judged = judge(&agreed(9, copy(vec![(4, wrong)])), &[]);
            assert!(matches!(judged, Some(Objection::Damaged(_))), "{judged:?}");
        }
    }

    /// A forged message that the bus stored is part of the running hash: it is put back where somebody saw it.
    #[test]
    fn what_nobody_believes_is_put_back_where_somebody_saw_it() {
        for wrong in [Wrong::NotBelieved(String::new()), Wrong::Discontinuous { revision: 3, after: 1 }] {
            let found = || copy(vec![(4, wrong.clone())]);
            assert!(matches!(judge(&found(), &[]), Some(Objection::Unconfirmed(_))));
            assert!(matches!(judge(&agreed(3, found()), &[]), Some(Objection::Unconfirmed(_))));
            assert_eq!(judge(&agreed(4, found()), &[]), None);
        }
        let many =
            |upto| agreed(upto, copy((1..=200).map(|_| (1, Wrong::NotBelieved(String::new()))).collect()));
        assert!(matches!(judge(&many(8), &[]), Some(Objection::Unconfirmed(_))));
        assert_eq!(judge(&many(9), &[]), None);
    }

    #[test]
    fn whoever_has_more_is_named() {
        let cut = copy(vec![(10, Wrong::CutOff { by: "edge e2".to_owned(), seen: 12 })]);
        let short = judge(&cut, &[("the copy of e3".to_owned(), 11)]);
        let expected = [("edge e2".to_owned(), 12), ("the copy of e3".to_owned(), 11)];
        assert_eq!(short, Some(Objection::Short(expected.to_vec())));
    }
}
