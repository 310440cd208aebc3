use super::*;

/// Rows of (second, key, amount, window, expected sum).
fn check(rows: &[(u64, &str, u64, u32, u64)]) {
    let counters = Counters::new();
    let binding: Arc<str> = "p".into();
    for (row, (second, key, amount, window, expected)) in rows.iter().enumerate() {
        let sum = counters.add_at(&binding, key, *amount, *window, Duration::from_secs(*second));
        assert_eq!(sum, Ok(*expected), "row {row}");
    }
}

#[test]
fn a_window_slides() {
    check(&[
        (0, "k", 1, 60, 1),
        (10, "k", 2, 60, 3),
        (59, "k", 0, 60, 3),
        (62, "k", 0, 60, 2),
        (80, "k", 1, 60, 1),
        (1000, "k", 0, 60, 0),
    ]);
}

#[test]
fn keys_and_windows_count_apart() {
    check(&[(0, "a", 1, 60, 1), (0, "b", 1, 60, 1), (0, "a", 1, 3600, 1), (1, "a", 1, 60, 3), (100, "a", 0, 3600, 2)]);
}

#[test]
fn bindings_count_apart() {
    let counters = Counters::new();
    assert_eq!(counters.add(&"one".into(), "k", 5, 60), Ok(5));
    assert_eq!(counters.add(&"two".into(), "k", 1, 60), Ok(1));
}

#[test]
fn a_sum_saturates() {
    check(&[(0, "k", u64::MAX, 60, u64::MAX), (30, "k", 1, 60, u64::MAX), (85, "k", 0, 60, 1)]);
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let counters = Counters::new();
    let binding: Arc<str> = "p".into();
    let long = "x".repeat(MAX_KEY + 1);
    assert_eq!(counters.add(&binding, &long, 1, 60), Err(CounterError::Key { found: MAX_KEY + 1 }));
    assert_eq!(counters.add(&binding, "k", 1, 0), Err(CounterError::Window { found: 0 }));
    assert_eq!(counters.add(&binding, "k", 1, MAX_WINDOW + 1), Err(CounterError::Window { found: MAX_WINDOW + 1 }));
    for window in 1..=MAX_WINDOWS as u32 {
        counters.add(&binding, "k", 1, window).unwrap();
    }
    assert_eq!(counters.add(&binding, "k", 1, 1000), Err(CounterError::Windows));
}

#[test]
fn a_full_table_makes_room_only_by_forgetting_what_is_over() {
    let counters = Counters::new();
    let binding: Arc<str> = "p".into();
    for key in 0..MAX_KEYS {
        counters.add_at(&binding, &key.to_string(), 1, 10, Duration::ZERO).unwrap();
    }
    let more = |second| counters.add_at(&binding, "more", 1, 10, Duration::from_secs(second));
    assert_eq!(more(1), Err(CounterError::Full));
    assert_eq!(more(60), Ok(1));
}
