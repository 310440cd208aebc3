//! Rows: what goes in, what is shown.

use super::*;

fn at(text: &str) -> jiff::Timestamp {
    text.parse().expect("a timestamp")
}

#[test]
fn ages_show_their_largest_unit() {
    let now = at("2026-01-10T12:00:00Z");
    for (then, shown) in [
        ("2026-01-10T12:00:05Z", "0s"),
        ("2026-01-10T11:59:01Z", "59s"),
        ("2026-01-10T11:59:00Z", "1m"),
        ("2026-01-10T09:00:00Z", "3h"),
        ("2026-01-01T12:00:00Z", "9d"),
    ] {
        assert_eq!(age(at(then), now), shown, "{then}");
    }
}

#[test]
fn sizes_and_spans_are_short() {
    for (count, shown) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 * 1_048_576 + 200_000, "3.2 MiB")] {
        assert_eq!(bytes(count), shown);
    }
    for (ns, shown) in [(0, "0 ns"), (12_340, "12.3 µs"), (4_560_000, "4.6 ms"), (1_230_000_000, "1.23 s")] {
        assert_eq!(span(ns), shown);
    }
}

#[test]
fn digests_are_cut_to_twelve_digits() {
    for (digest, shown) in [
        ("sha256:0123456789abcdef0123", "sha256:0123456789ab"),
        ("0123456789abcdef0123", "0123456789ab"),
        ("sha256:01", "sha256:01"),
        ("", ""),
    ] {
        assert_eq!(short_digest(digest), shown);
    }
}

#[test]
fn tables_align_without_colour() {
    let mut table = Table::new(["NAME", "PHASE", "NOTE"]);
    table.row(["demo".into(), "running".into(), "".into()]);
    table.row(["a-longer-name".into(), "exited".into(), "é".into()]);
    assert_eq!(
        table.render(),
        "NAME           PHASE    NOTE\n\
         demo           running  -\n\
         a-longer-name  exited   é\n"
    );
    assert_eq!(Table::new(["NAME"]).render_or("nothing"), "nothing");
}

#[test]
fn control_characters_never_reach_the_terminal() {
    assert_eq!(printable("a\u{1b}[31mb\nc"), "a\\u{1b}[31mb\\nc");
}

#[test]
fn wire_words_are_spelled_as_on_the_wire() {
    assert_eq!(word(&openshell_api::sandbox::Phase::Running), "running");
    assert_eq!(list::<&str>(&[]), "-");
    assert_eq!(list(&["a", "b"]), "a, b");
}
