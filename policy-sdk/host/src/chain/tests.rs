use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::cidr::Cidr;
use crate::reads::ReadNames;
use crate::types::{HeaderEdit, Inspection, Verdict};

/// A vote as plain data: a binding and what it says.
#[derive(Debug, Clone)]
struct Plain {
    binding: String,
    policy: PolicyRef,
    stance: Stance,
}

impl Plain {
    fn new(binding: &str, stance: Stance) -> Self {
        let policy = PolicyRef { name_version: format!("{binding}@1.0.0"), digest: "sha256:00".to_owned() };
        Self { binding: binding.to_owned(), policy, stance }
    }
}

fn votes(plain: &[Plain]) -> Vec<Vote> {
    plain
        .iter()
        .map(|plain| Vote {
            binding: plain.binding.as_str().into(),
            policy: Arc::new(plain.policy.clone()),
            stance: plain.stance.clone(),
            memoized: false,
            read: ReadNames::default(),
        })
        .collect()
}

fn decide(ceiling: &[Plain], own: &[Plain]) -> Settled {
    let own = settle(&votes(own));
    if ceiling.is_empty() { own } else { narrow(settle(&votes(ceiling)), own) }
}

fn allow(rule: &str) -> Grant {
    Grant { rule: rule.to_owned(), ..pass() }
}

fn deny(rule: &str) -> Denial {
    Denial { rule: rule.to_owned(), reason: "no".to_owned(), hint: None }
}

fn said(verdict: Verdict) -> Stance {
    Stance::Said(Arc::new(verdict))
}

/// `a:allow b:deny c:abstain d:fail e:later f:none`; what comes after a comma are terms: `opaque`, `required`,
/// `cred=x`, `net=10.0.0.0/8`, `set=name/value`, `audit`.
fn parse(text: &str) -> Vec<Plain> {
    text.split_whitespace()
        .map(|word| {
            let (binding, rest) = word.split_once(':').expect("binding:stance");
            let mut parts = rest.split(',');
            let stance = match parts.next().expect("a stance") {
                "allow" => said(Verdict::Allow(parts.fold(allow(binding), |mut grant, term| {
                    match term.split_once('=') {
                        None if term == "required" => grant.inspection = Inspection::Required,
                        None if term == "automatic" => grant.inspection = Inspection::Automatic,
                        None if term == "audit" => grant.audit = Some(deny(binding)),
                        Some(("cred", name)) => grant.credential = Some(name.to_owned()),
                        Some(("net", range)) => grant.private_ranges.push(range.to_owned()),
                        Some(("set", edit)) => {
                            let (name, value) = edit.split_once('/').expect("name/value");
                            grant.headers.push(HeaderEdit::Set(name.to_owned(), value.to_owned()));
                        }
                        _ => panic!("unknown term {term}"),
                    }
                    grant
                }))),
                "deny" => said(Verdict::Deny(deny(binding))),
                "abstain" => said(Verdict::Abstain),
                "fail" => Stance::Failed(Failure::Deadline { limit_ms: 1 }),
                "later" => Stance::Later,
                "none" => Stance::None,
                other => panic!("unknown stance {other}"),
            };
            Plain::new(binding, stance)
        })
        .collect()
}

fn show(settled: &Settled) -> String {
    let by = settled.by.as_ref().map_or("nobody", |by| by.name_version.trim_end_matches("@1.0.0"));
    match &settled.outcome {
        Outcome::Allow(grant) => {
            let mut text = format!("allow {} by {by}", grant.rule);
            match grant.inspection {
                Inspection::Opaque => {}
                Inspection::Automatic => text += " automatic",
                Inspection::Required => text += " required",
            }
            if let Some(name) = &grant.credential {
                text += &format!(" cred={name}");
            }
            if !grant.private_ranges.is_empty() {
                text += &format!(" net={}", grant.private_ranges.join("+"));
            }
            for edit in &grant.headers {
                if let HeaderEdit::Set(name, value) = edit {
                    text += &format!(" set={name}/{value}");
                }
            }
            if let Some(audit) = &grant.audit {
                text += &format!(" audit={}", audit.rule);
            }
            text
        }
        Outcome::Deny(denial) => format!("deny {} by {by}", denial.rule),
        Outcome::Failed(failure) => format!("failed {} by {by}", failure.kind()),
        Outcome::Unanswered => "unanswered".to_owned(),
        Outcome::Conflict(what) => format!("conflict: {what}"),
    }
}

#[test]
fn a_chain_comes_to_one_outcome() {
    for (ceiling, own, expected) in [
        ("", "", "unanswered"),
        ("", "a:abstain", "unanswered"),
        ("", "a:allow", "allow a by a"),
        ("", "a:allow b:abstain", "allow a by a"),
        ("", "a:allow b:deny", "deny b by b"),
        ("", "z:deny b:deny", "deny b by b"),
        ("", "a:allow b:fail", "failed deadline by b"),
        ("", "a:fail b:deny", "deny b by b"),
        ("", "a:none", "unanswered"),
        ("", "a:later", "allow each-request by a required"),
        ("", "a:later b:allow", "allow b by b"),
        ("", "a:later b:deny", "deny b by b"),
        ("", "a:later b:abstain", "allow each-request by a required"),
        ("", "b:allow,required a:allow,automatic", "allow a by a required"),
        ("", "a:allow,cred=x b:allow", "allow a by a cred=x"),
        ("", "a:allow b:allow,cred=x", "allow a by a cred=x"),
        ("", "a:allow,cred=x b:allow,cred=x", "allow a by a cred=x"),
        ("", "a:allow,cred=y b:allow,cred=x", "conflict: credentials `x` and `y` are both granted"),
        ("", "a:allow,net=10.0.0.0/8 b:allow,net=192.168.0.0/16", "allow a by a net=10.0.0.0/8+192.168.0.0/16"),
        ("", "a:allow,set=x/1 b:allow,set=y/2", "allow a by a set=x/1 set=y/2"),
        ("", "a:allow,set=x/1 b:allow,set=X/1", "allow a by a set=x/1"),
        ("", "a:allow,set=x/1 b:allow,set=X/2", "conflict: header `x` is edited in two ways"),
        ("", "a:allow,set=x/1,set=x/2", "conflict: header `x` is edited in two ways"),
        ("", "a:allow b:allow,audit", "allow a by a audit=b"),
        ("c:allow", "", "unanswered"),
        ("c:abstain", "a:allow", "unanswered"),
        ("c:allow", "a:allow", "allow a by a"),
        ("c:deny", "a:allow", "deny c by c"),
        ("c:deny", "a:deny", "deny c by c"),
        ("c:allow", "a:deny", "deny a by a"),
        ("c:fail", "a:allow", "failed deadline by c"),
        ("c:fail", "a:deny", "deny a by a"),
        ("c:abstain", "a:deny", "deny a by a"),
        ("c:later", "a:allow", "allow a by a required"),
        ("c:allow", "a:allow,net=10.0.0.0/8", "allow a by a"),
        ("c:allow,net=10.1.0.0/16", "a:allow,net=10.0.0.0/8", "allow a by a net=10.1.0.0/16"),
        ("c:allow,net=10.0.0.0/8", "a:allow,net=10.1.2.0/24", "allow a by a net=10.1.2.0/24"),
        ("c:allow,net=10.0.0.0/8", "a:allow,net=fd00::/8", "allow a by a"),
        ("c:allow,cred=x", "a:allow,cred=y", "conflict: credentials `x` and `y` are both granted"),
        ("c:allow,required,set=x/1", "a:allow", "allow a by a required set=x/1"),
    ] {
        let found = show(&decide(&parse(ceiling), &parse(own)));
        assert_eq!(found, expected, "ceiling [{ceiling}] own [{own}]");
    }
}

fn denial() -> impl Strategy<Value = Denial> {
    select(vec!["r1", "r2"]).prop_map(deny)
}

fn grant() -> impl Strategy<Value = Grant> {
    let edit = (select(vec!["x-a", "x-b"]), option::of(select(vec!["1", "2"]))).prop_map(|(name, value)| match value {
        Some(value) => HeaderEdit::Set(name.to_owned(), value.to_owned()),
        None => HeaderEdit::Remove(name.to_owned()),
    });
    let range = select(vec!["10.0.0.0/8", "10.1.0.0/16", "192.168.1.7", "fd00::/8"]).prop_map(str::to_owned);
    (
        select(vec!["r1", "r2"]),
        select(vec![Inspection::Opaque, Inspection::Automatic, Inspection::Required]),
        option::weighted(0.2, select(vec!["one", "two"]).prop_map(str::to_owned)),
        vec(range, 0..3),
        vec(edit, 0..2),
        option::weighted(0.2, denial()),
    )
        .prop_map(|(rule, inspection, credential, private_ranges, headers, audit)| Grant {
            rule: rule.to_owned(),
            inspection,
            credential,
            private_ranges,
            headers,
            audit,
        })
}

fn stance() -> impl Strategy<Value = Stance> {
    prop_oneof![
        6 => grant().prop_map(|grant| said(Verdict::Allow(grant))),
        1 => denial().prop_map(|denial| said(Verdict::Deny(denial))),
        2 => Just(said(Verdict::Abstain)),
        1 => Just(Stance::Failed(Failure::Deadline { limit_ms: 5 })),
        1 => Just(Stance::Later),
        1 => Just(Stance::None),
    ]
}

fn chain() -> impl Strategy<Value = Vec<Plain>> {
    vec((select(vec!["a", "b", "c", "d"]), stance()), 0..5)
        .prop_map(|votes| votes.into_iter().map(|(binding, stance)| Plain::new(binding, stance)).collect())
}

fn allowed(settled: &Settled) -> Option<&Grant> {
    match &settled.outcome {
        Outcome::Allow(grant) => Some(grant),
        _ => None,
    }
}

fn with(chain: &[Plain], at: Index, stance: Stance) -> Vec<Plain> {
    let mut chain = chain.to_vec();
    chain.insert(at.index(chain.len() + 1), Plain::new("new", stance));
    chain
}

proptest! {
    #[test]
    fn order_never_matters(
        (ceiling, shuffled_ceiling) in chain().prop_flat_map(|chain| (Just(chain.clone()), Just(chain).prop_shuffle())),
        (own, shuffled_own) in chain().prop_flat_map(|chain| (Just(chain.clone()), Just(chain).prop_shuffle())),
    ) {
        prop_assert_eq!(decide(&ceiling, &own), decide(&shuffled_ceiling, &shuffled_own));
    }

    #[test]
    fn an_abstaining_policy_changes_nothing(ceiling in chain(), own in chain(), at: Index) {
        let abstain = said(Verdict::Abstain);
        prop_assert_eq!(decide(&ceiling, &own), decide(&ceiling, &with(&own, at, abstain.clone())));
        if !ceiling.is_empty() {
            prop_assert_eq!(decide(&ceiling, &own), decide(&with(&ceiling, at, abstain), &own));
        }
    }

    #[test]
    fn a_deny_or_a_failure_never_widens(ceiling in chain(), own in chain(), at: Index, denial in denial()) {
        for stance in [said(Verdict::Deny(denial)), Stance::Failed(Failure::Memory { limit_bytes: 1 })] {
            prop_assert!(allowed(&decide(&ceiling, &with(&own, at, stance.clone()))).is_none());
            prop_assert!(allowed(&decide(&with(&ceiling, at, stance), &own)).is_none());
        }
    }

    #[test]
    fn nothing_is_allowed_that_nobody_allows(ceiling in chain(), own in chain()) {
        let speaks_for = |chain: &[Plain]| {
            votes(chain).iter().any(|vote| vote.grant().is_some() || matches!(vote.stance, Stance::Later))
        };
        if allowed(&decide(&ceiling, &own)).is_some() {
            prop_assert!(speaks_for(&own));
            prop_assert!(ceiling.is_empty() || speaks_for(&ceiling));
        }
    }

    #[test]
    fn observing_lifts_nothing_but_the_own_chain(ceiling in chain(), own in chain()) {
        let limit = (!ceiling.is_empty()).then(|| votes(&ceiling));
        let alone = settle(&votes(&own));
        let lifted = combine(limit.as_deref(), observed(alone.clone()));
        if let Some(grant) = allowed(&lifted) {
            prop_assert!(limit.is_none_or(|votes| allowed(&settle(&votes)).is_some()), "the ceiling holds");
            if allowed(&alone).is_none() {
                prop_assert!(grant.audit.is_some() && grant.private_ranges.is_empty());
            }
        }
    }

    #[test]
    fn a_ceiling_only_narrows(ceiling in chain(), own in chain()) {
        let (under, free) = (decide(&ceiling, &own), decide(&[], &own));
        if let Some(under) = allowed(&under) {
            let free = allowed(&free).expect("what a ceiling lets pass was allowed before");
            prop_assert!(under.inspection >= free.inspection);
            prop_assert!(free.credential.is_none() || under.credential == free.credential);
            for edit in &free.headers {
                prop_assert!(under.headers.contains(edit));
            }
            if !ceiling.is_empty() {
                let ranges: Vec<Cidr> = free.private_ranges.iter().map(|range| range.parse().unwrap()).collect();
                for range in &under.private_ranges {
                    let range: Cidr = range.parse().unwrap();
                    prop_assert!(ranges.iter().any(|wide| wide.intersect(range) == Some(range)));
                }
            }
        }
    }
}
