//! What counts as a refusal.

use super::*;

#[test]
fn a_probe_that_lacks_something_proves_nothing() {
    let check = |error: fn() -> io::Result<()>, seen: &str, proven: bool| {
        let mut findings = Findings::default();
        findings.none("some", [PathBuf::from("/path")], |_| error());
        let found = &findings.0[0];
        assert_eq!((found.seen.as_str(), found.proven), (seen, proven));
    };
    check(|| Ok(()), "/path", false);
    check(|| Err(Errno::EACCES.into()), "none of 1", true);
    check(|| Err(Errno::EROFS.into()), "none of 1", true);
    check(|| Err(Errno::ENOENT.into()), "none of 1", true);
    check(|| Err(io::ErrorKind::UnexpectedEof.into()), "none of 1", true);
    // The workload may lower what the probe has, and make what the probe would.
    check(|| Err(Errno::EMFILE.into()), "/path: EMFILE", false);
    check(|| Err(Errno::EEXIST.into()), "/path: EEXIST", false);
    check(|| Err(Errno::ENOSPC.into()), "/path: ENOSPC", false);
}
