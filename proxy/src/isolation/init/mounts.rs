//! The filesystem that the workload sees: a new root that holds what the walls list, and nothing else.
//!
//! The steps are those of every container runtime: a tmpfs becomes the root and the host's root a directory in it
//! (`/host`); the view is put together in `/view`; then the view becomes the root and the rest is unmounted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use super::concealed::{self, Shown};
use crate::isolation::sys;
use crate::isolation::wire::Setup;

const HOST: &str = "/host";
const VIEW: &str = "/view";
/// Device nodes that programs expect.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// What a fresh `/proc` shows of the whole machine, and no workload needs.
const MASKED_PROC: &[&str] = &[
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
];
/// Directories that many systems have in `/usr`, with links to them from here.
const ALIASES: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// What stands at a path of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// An empty directory in memory, for everyone or for root to write.
    Private {
        mode: u32,
    },
    Devices,
    /// Something of the host's, at its real path there.
    Host {
        source: PathBuf,
        read_only: bool,
    },
    /// A symbolic link, as on the host.
    Link(PathBuf),
    /// Nothing, even where something is shown around it.
    Hidden,
    /// Nothing, in place of a socket that leads to the host.
    Socket,
}

/// Everything the view will hold, parents before children.
#[derive(Debug)]
pub(super) struct Plan {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Plan {
    /// Resolves the configured paths while the host's filesystem is still there. With `strict`, each must exist.
    pub fn new(setup: &Setup) -> io::Result<Self> {
        let mut entries = BTreeMap::new();
        let world = Entry::Private { mode: 0o1777 };
        for (path, entry) in [
            ("/tmp", world.clone()),
            ("/var/tmp", world),
            ("/run", Entry::Private { mode: 0o755 }),
            ("/dev", Entry::Devices),
        ] {
            entries.insert(PathBuf::from(path), entry);
        }
        for (paths, read_only) in [(&setup.walls.read_only, true), (&setup.walls.read_write, false)] {
            for path in &spread(paths)? {
                if is_private(path) {
                    continue;
                }
                if let Some(entry) = find(path, read_only, setup.walls.strict)? {
                    entries.insert(normal(path)?, entry);
                }
            }
        }
        for alias in ALIASES.map(Path::new) {
            // Where `/usr` holds everything, programs still name it by its old places.
            if let (false, Ok(to)) = (entries.contains_key(alias), fs::read_link(alias))
                && shows(&entries, &Path::new("/").join(&to))
            {
                entries.insert(alias.into(), Entry::Link(to));
            }
        }
        let read_only = !setup.workspace_writable;
        let real = fs::canonicalize(&setup.workspace)?;
        entries.insert(normal(&setup.workspace)?, Entry::Host { source: real.clone(), read_only });
        let shown = of_the_host(&entries);
        for path in &setup.hidden {
            entries.insert(normal(path)?, Entry::Hidden);
        }
        for path in concealed::hidden(&shown, &real, &setup.hidden) {
            entries.insert(path, Entry::Hidden);
        }
        for path in concealed::sockets(&shown, concealed::bound_sockets()?) {
            entries.entry(path).or_insert(Entry::Socket);
        }
        Ok(Self { entries })
    }

    /// Makes a tmpfs the root, with the host's root at `/host` and an empty view at `/view`.
    pub fn enter_base(&self) -> io::Result<()> {
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        // Any directory will do, and this one always exists; the tmpfs moves away from it with the pivot.
        tmpfs(Path::new("/proc"), 0o755)?;
        fs::create_dir("/proc/host")?;
        fs::create_dir("/proc/view")?;
        pivot_root("/proc", "/proc/host")?;
        chdir("/")?;
        tmpfs(Path::new(VIEW), 0o755)
    }

    /// A `/proc` of the sandbox's own processes.
    pub fn mount_proc(&self) -> io::Result<()> {
        let target = Path::new(VIEW).join("proc");
        fs::create_dir_all(&target)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), &target, Some("proc"), flags, None::<&str>)?;
        for name in MASKED_PROC {
            let file = target.join(name);
            match fs::metadata(&file) {
                Ok(metadata) if metadata.is_dir() => {
                    tmpfs(&file, 0o555)?;
                    sys::restrict_mount(&c_path(&file)?, true)?;
                }
                Ok(_) => bind(&Path::new(HOST).join("dev/null"), &file)?,
                Err(_absent) => {}
            }
        }
        Ok(())
    }

    /// The host's `/proc`, for kernels and containers that refuse a new one.
    pub fn bind_proc(&self) -> io::Result<()> {
        bind(&Path::new(HOST).join("proc"), &Path::new(VIEW).join("proc"))
    }

    /// Puts the view together.
    pub fn build(&self) -> io::Result<()> {
        let mut veils = Vec::new();
        for (path, entry) in &self.entries {
            let target = inside(VIEW, path);
            if *entry == Entry::Hidden && target.is_dir() {
                veils.push(target.clone());
            }
            place(entry, &target)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        }
        // Only now: the workspace may lie below what is hidden.
        veils.iter().try_for_each(|veil| read_only(veil))
    }

    /// Makes the view the root. Of the host's filesystem only what the view holds remains.
    pub fn enter_view(&self) -> io::Result<()> {
        umount2(HOST, MntFlags::MNT_DETACH)?;
        chdir(VIEW)?;
        pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        chdir("/")?;
        Ok(())
    }

    /// Nothing can be added to the root and to `/dev` any more.
    pub fn close(&self) -> io::Result<()> {
        ["/", "/dev"].into_iter().try_for_each(|path| read_only(Path::new(path)))
    }

    /// What may be read, and what may be written as well.
    pub fn visible(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let (mut read_only, mut read_write) = (Vec::new(), vec![PathBuf::from("/proc")]);
        for (path, entry) in &self.entries {
            match entry {
                Entry::Host { read_only: true, .. } => read_only.push(path.clone()),
                Entry::Host { .. } | Entry::Private { .. } | Entry::Devices => read_write.push(path.clone()),
                Entry::Link(_) | Entry::Hidden | Entry::Socket => {}
            }
        }
        (read_only, read_write)
    }

    /// What stays hidden, and the sockets that are masked.
    pub fn concealed(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let paths = |wanted: Entry| {
            let chosen = self.entries.iter().filter(|(_, entry)| **entry == wanted);
            chosen.map(|(path, _)| path.clone()).collect()
        };
        (paths(Entry::Hidden), paths(Entry::Socket))
    }
}

fn of_the_host(entries: &BTreeMap<PathBuf, Entry>) -> Vec<Shown> {
    let shown = |(target, entry): (&PathBuf, &Entry)| match entry {
        Entry::Host { source, .. } => Some(Shown::new(target, source)),
        _ => None,
    };
    entries.iter().filter_map(shown).collect()
}

/// `/` in a list stands for everything in it but what every sandbox has of its own, and of `/sys` for what programs
/// read to learn how many processors and how much memory they have. The root itself is a tmpfs, so that an image
/// needs no `/tmp` and no `/run`.
fn spread(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut spread: Vec<PathBuf> = paths.iter().filter(|path| *path != Path::new("/")).cloned().collect();
    if spread.len() < paths.len() {
        for entry in fs::read_dir("/")? {
            let path = entry?.path();
            if !["/proc", "/sys", "/dev", "/run", "/tmp"].iter().any(|own| path == Path::new(own)) {
                spread.push(path);
            }
        }
        spread.extend(["/sys/fs/cgroup", "/sys/devices/system/cpu"].map(PathBuf::from));
    }
    Ok(spread)
}

/// Makes one mount read-only, and none below it.
fn read_only(path: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
    Ok(mount(None::<&str>, path, None::<&str>, flags, None::<&str>)?)
}

/// An absolute path without `..`, or nothing we would mount at.
fn normal(path: &Path) -> io::Result<PathBuf> {
    use std::path::Component;
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    match path.is_absolute() && path.components().all(plain) {
        true => Ok(path.components().collect()),
        false => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is not an absolute path", path.display())))
        }
    }
}

/// What every sandbox has of its own, whatever is listed.
fn is_private(path: &Path) -> bool {
    let own = ["/tmp", "/var/tmp", "/run", "/dev", "/proc"].iter().any(|own| path == Path::new(own));
    let device = |name: &&str| path == Path::new("/dev").join(name);
    own || path.starts_with("/proc") || DEVICES.iter().chain(&["pts", "shm", "fd"]).any(device)
}

/// Whether something of the host's stands at this path, or above it.
fn shows(entries: &BTreeMap<PathBuf, Entry>, path: &Path) -> bool {
    path.ancestors().any(|above| matches!(entries.get(above), Some(Entry::Host { .. })))
}

fn find(path: &Path, read_only: bool, strict: bool) -> io::Result<Option<Entry>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() && read_only => Ok(Some(Entry::Link(fs::read_link(path)?))),
        Ok(_) => Ok(Some(Entry::Host { source: fs::canonicalize(path)?, read_only })),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !strict => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

fn place(entry: &Entry, target: &Path) -> io::Result<()> {
    match entry {
        Entry::Private { mode } => match fs::create_dir_all(target) {
            // Within something that is shown read-only, such as a `/var` without a `tmp`.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
            made => made.and_then(|()| tmpfs(target, *mode)),
        },
        Entry::Devices => devices(target),
        Entry::Link(to) => {
            fs::create_dir_all(parent(target))?;
            match symlink(to, target) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            }
        }
        Entry::Host { source, read_only } => {
            let source = inside(HOST, source);
            mount_point(target, fs::metadata(&source)?.is_dir())?;
            bind(&source, target)?;
            sys::restrict_mount(&c_path(target)?, *read_only)
        }
        // Nothing is shown there anyway, unless something around it is.
        Entry::Hidden if !target.exists() => Ok(()),
        // Passable, for what is shown below; nothing can be listed.
        Entry::Hidden if target.is_dir() => tmpfs(target, 0o111),
        Entry::Hidden => bind(&Path::new(HOST).join("dev/null"), target),
        Entry::Socket if !is_socket(target) => Ok(()),
        Entry::Socket => bind(&Path::new(HOST).join("dev/null"), target),
    }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn devices(dev: &Path) -> io::Result<()> {
    fs::create_dir_all(dev)?;
    tmpfs(dev, 0o755)?;
    for name in DEVICES {
        let target = dev.join(name);
        File::create(&target)?;
        bind(&Path::new(HOST).join("dev").join(name), &target)?;
    }
    for (name, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(to, dev.join(name))?;
    }
    let terminals = dev.join("pts");
    fs::create_dir(&terminals)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("devpts"), &terminals, Some("devpts"), flags, Some("newinstance,ptmxmode=0666,mode=0620"))?;
    let memory = dev.join("shm");
    fs::create_dir(&memory)?;
    tmpfs(&memory, 0o1777)
}

/// Something to mount over, of the right kind.
pub(super) fn mount_point(target: &Path, directory: bool) -> io::Result<()> {
    if directory {
        return fs::create_dir_all(target);
    }
    fs::create_dir_all(parent(target))?;
    match target.exists() {
        true => Ok(()),
        false => File::create(target).map(drop),
    }
}

pub(super) fn bind(source: &Path, target: &Path) -> io::Result<()> {
    Ok(mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?)
}

/// An empty directory in memory. What everyone may write takes at most a quarter of the machine's memory, what only its
/// owner may write a twentieth.
fn tmpfs(target: &Path, mode: u32) -> io::Result<()> {
    let share = if mode & 0o002 != 0 { 25 } else { 5 };
    let options = format!("mode={mode:o},size={share}%");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options.as_str()))?)
}

fn inside(root: &str, path: &Path) -> PathBuf {
    Path::new(root).join(path.strip_prefix("/").unwrap_or(path))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

pub(super) fn c_path(path: &Path) -> io::Result<std::ffi::CString> {
    Ok(std::ffi::CString::new(path.as_os_str().as_bytes())?)
}
