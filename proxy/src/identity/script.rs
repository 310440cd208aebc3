//! Which script an interpreter runs, as far as its argv says. A program can write what it likes there: a rule about a
//! script narrows a rule about its interpreter, it never widens one.

use std::io;
use std::path::{Component, Path, PathBuf};

/// Interpreters, with the options that take a separate value and those after which there is no script.
struct Interpreter {
    /// Its file name, without a version.
    names: &'static [&'static str],
    /// Options followed by a value of their own.
    valued: &'static [&'static str],
    /// Options that bring the program in another way.
    inline: &'static [&'static str],
}

const INTERPRETERS: &[Interpreter] = &[
    Interpreter { names: &["python", "pypy"], valued: &["-W", "-X", "--check-hash-based-pycs"], inline: &["-c", "-m"] },
    Interpreter {
        names: &["node", "nodejs", "bun", "deno"],
        valued: &["-r", "--require", "--import", "--loader", "-C", "--conditions", "--env-file"],
        inline: &["-e", "--eval", "-p", "--print"],
    },
    Interpreter {
        names: &["bash", "sh", "dash", "zsh", "ksh", "ash"],
        valued: &["-o", "+o", "-O", "+O"],
        inline: &["-c", "-s"],
    },
    Interpreter { names: &["perl"], valued: &["-I"], inline: &["-e", "-E"] },
    Interpreter { names: &["ruby"], valued: &["-I", "-r", "-C"], inline: &["-e"] },
    Interpreter { names: &["php"], valued: &["-c", "-d"], inline: &["-r"] },
    Interpreter { names: &["lua", "luajit", "tclsh", "Rscript"], valued: &["-l"], inline: &["-e"] },
];

/// The absolute path of the script, if `executable` is an interpreter that runs one.
pub(super) fn find(
    executable: &str,
    arguments: &[String],
    directory: impl FnOnce() -> io::Result<String>,
) -> Option<String> {
    let name = Path::new(executable).file_name()?.to_str()?;
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let interpreter = INTERPRETERS.iter().find(|interpreter| interpreter.names.contains(&name))?;
    let script = first_operand(interpreter, arguments.get(1..)?)?;
    match Path::new(script).is_absolute() {
        true => Some(clean(Path::new(script))),
        false => Some(clean(&Path::new(&directory().ok()?).join(script))),
    }
}

fn first_operand<'a>(interpreter: &Interpreter, arguments: &'a [String]) -> Option<&'a str> {
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let short = |option: &&str| is_short_cluster(word, option);
        match word {
            "--" => return words.next(),
            "-" => return None,
            _ if interpreter.inline.contains(&word) || interpreter.inline.iter().any(short) => return None,
            _ if interpreter.valued.contains(&word) => drop(words.next()),
            _ if word.starts_with(['-', '+']) => {}
            _ => return Some(word),
        }
    }
    None
}

/// Whether `-xec` contains `-c`: one-letter options may share a dash.
fn is_short_cluster(word: &str, option: &str) -> bool {
    let (Some(letters), Some(letter)) = (word.strip_prefix('-'), option.strip_prefix('-')) else { return false };
    letter.len() == 1 && !letters.starts_with('-') && letters.len() <= 8 && letters.contains(letter)
}

/// Without `.` and `..`, textually.
fn clean(path: &Path) -> String {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(clean.pop()),
            other => clean.push(other),
        }
    }
    clean.to_string_lossy().into_owned()
}
