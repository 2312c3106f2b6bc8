//! Where a cluster's files are: its folders, who owns them, and the locks by which processes share it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown,
};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, access, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::binaries::leading_number;
use super::{EmbeddedError, LOCK_LIMIT, POLL, PORT, Result, failed};

/// Beyond this the system refuses a Unix socket's path (104 bytes on macOS, 108 on Linux).
const SOCKET_PATH_LIMIT: usize = 100;

/// The user that runs Postgres when we are root.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) name: String,
}

/// Where a cluster's files are, and who runs its server.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) data_dir: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) socket_dir: PathBuf,
    /// `None` when we run Postgres as ourselves.
    pub(super) account: Option<Account>,
}

impl Place {
    /// Makes the folders and checks that the user who runs Postgres owns and reaches them.
    pub(super) fn prepare(data_dir: &Path) -> Result<Place> {
        make_data_dir(data_dir)
            .map_err(|source| EmbeddedError::DataDir { folder: data_dir.to_owned(), source })?;
        let data_dir = data_dir.canonicalize().map_err(failed("open", data_dir))?;
        let folder = data_dir.join("postgres");
        let account = if geteuid().is_root() { Some(account_for(&folder)?) } else { None };
        match &account {
            Some(account) => check_traversable(&data_dir, account)?,
            None => check_owner(&folder)?,
        }
        let place = Place { socket_dir: socket_dir(&data_dir), data_dir, folder, account };
        place.secure_socket_dir()?;
        Ok(place)
    }

    pub(super) fn lock_file(&self) -> PathBuf {
        self.data_dir.join("postgres.lock")
    }

    pub(super) fn users_file(&self) -> PathBuf {
        self.data_dir.join("postgres.users")
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.data_dir.join("postgres.log")
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        self.folder.join("postmaster.pid")
    }

    /// User id that the server runs as.
    pub(super) fn uid(&self) -> u32 {
        self.account.as_ref().map_or_else(|| geteuid().as_raw(), |account| account.uid)
    }

    /// Waits for the exclusive lock; dropping the file gives it back.
    pub(super) async fn take_turn(&self) -> Result<File> {
        let path = self.lock_file();
        let file = open_lock(&path)?;
        let deadline = Instant::now() + LOCK_LIMIT;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK) if Instant::now() > deadline => {
                    return Err(EmbeddedError::Busy { lock: path });
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => sleep(POLL).await,
                Err(error) => return Err(failed("lock", &path)(error)),
            }
        }
    }

    /// Major version of the existing cluster; `None` if there is none yet.
    pub(super) fn version(&self) -> Result<Option<u32>> {
        let path = self.folder.join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => match leading_number(&text) {
                Some(major) => Ok(Some(major)),
                None => Err(EmbeddedError::NotACluster { folder: self.folder.clone() }),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match fs::read_dir(&self.folder).ok().and_then(|mut entries| entries.next()) {
                    Some(_) => Err(EmbeddedError::NotACluster { folder: self.folder.clone() }),
                    None => Ok(None),
                }
            }
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// Makes a folder that only the user who runs Postgres may enter.
    pub(super) fn make_private_dir(&self, folder: &Path) -> Result<()> {
        DirBuilder::new().mode(0o700).create(folder).map_err(failed("create", folder))?;
        match &self.account {
            Some(account) => chown(folder, Some(account.uid), Some(account.gid))
                .map_err(failed("change the owner of", folder)),
            None => Ok(()),
        }
    }

    /// Makes the socket's folder, or makes sure that nobody else can have put a server of theirs into it.
    pub(super) fn secure_socket_dir(&self) -> Result<()> {
        let folder = &self.socket_dir;
        let untrusted =
            |reason| Err(EmbeddedError::SocketFolder { folder: folder.clone(), reason });
        let found = match fs::symlink_metadata(folder) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match self.make_private_dir(folder) {
                    Err(EmbeddedError::File { source, .. })
                        if source.kind() == ErrorKind::AlreadyExists =>
                    {
                        fs::symlink_metadata(folder).map_err(failed("look at", folder))?
                    }
                    made => return made,
                }
            }
            Err(error) => return Err(failed("look at", folder)(error)),
        };
        if !found.is_dir() {
            return untrusted("is not a folder");
        }
        if found.uid() != self.uid() {
            return untrusted("belongs to another user");
        }
        if found.mode() & 0o077 != 0 {
            return untrusted("is open to other users");
        }
        Ok(())
    }
}

/// The folder for the socket: in the data folder if its path is short and plain enough, otherwise in `/tmp`.
pub(super) fn socket_dir(data_dir: &Path) -> PathBuf {
    let near = data_dir.join("postgres-socket");
    let length = near.as_os_str().len() + format!("/.s.PGSQL.{PORT}").len();
    if length <= SOCKET_PATH_LIMIT && near.to_str().is_some_and(|path| !path.contains('"')) {
        return near;
    }
    let hash = hex::encode(Sha256::digest(data_dir.as_os_str().as_encoded_bytes()));
    Path::new("/tmp").join(format!("crm-{}", &hash[..16]))
}

/// Makes the data folder if it is missing: closed to other users, except that root's may be passed through by the user
/// who runs Postgres.
fn make_data_dir(data_dir: &Path) -> io::Result<()> {
    if data_dir.is_dir() {
        access(data_dir, Access::WRITE_OK | Access::EXEC_OK)?;
        return Ok(());
    }
    if data_dir.exists() {
        return Err(io::Error::new(ErrorKind::NotADirectory, "it is a file, not a folder"));
    }
    let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
    DirBuilder::new().recursive(true).mode(mode).create(data_dir)?;
    // Once more by name, since the mode of a new folder is cut by the process's umask.
    fs::set_permissions(data_dir, Permissions::from_mode(mode))
}

/// The user who runs Postgres for root: the owner of the cluster if there is one, otherwise `postgres` or `nobody`.
fn account_for(folder: &Path) -> Result<Account> {
    let owner = fs::symlink_metadata(folder).ok();
    if let Some(owner) = owner.as_ref().filter(|owner| owner.uid() != 0) {
        return Ok(Account { uid: owner.uid(), gid: owner.gid(), name: owner.uid().to_string() });
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let account = ["postgres", "nobody"].iter().find_map(|name| account_named(&users, name));
    let account = account.ok_or(EmbeddedError::NoAccount)?;
    if owner.is_some() {
        // A copy of a cluster that root made, from a backup say.
        chown_all(folder, &account)?;
    }
    Ok(account)
}

/// Finds `name` in the text of `/etc/passwd` (`name:password:uid:gid:…`).
fn account_named(users: &str, name: &str) -> Option<Account> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        (uid != 0).then(|| Account { uid, gid, name: name.to_owned() })
    })
}

fn chown_all(path: &Path, account: &Account) -> Result<()> {
    lchown(path, Some(account.uid), Some(account.gid))
        .map_err(failed("change the owner of", path))?;
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        for entry in fs::read_dir(path).map_err(failed("read", path))? {
            chown_all(&entry.map_err(failed("read", path))?.path(), account)?;
        }
    }
    Ok(())
}

/// Checks that `account` may pass through every folder down to the data folder.
pub(super) fn check_traversable(data_dir: &Path, account: &Account) -> Result<()> {
    let ancestors: Vec<&Path> = data_dir.ancestors().collect();
    for folder in ancestors.into_iter().rev() {
        let found = fs::metadata(folder).map_err(failed("look at", folder))?;
        let needed = if found.uid() == account.uid {
            0o100
        } else if found.gid() == account.gid {
            0o010
        } else {
            0o001
        };
        if found.mode() & needed == 0 {
            return Err(EmbeddedError::NotTraversable {
                folder: folder.to_path_buf(),
                user: account.name.clone(),
            });
        }
    }
    Ok(())
}

/// Postgres insists on owning its cluster; better a clear word from us than its own.
fn check_owner(folder: &Path) -> Result<()> {
    match fs::symlink_metadata(folder) {
        Ok(found) if found.uid() != geteuid().as_raw() => {
            Err(EmbeddedError::NotOwner { folder: folder.to_path_buf(), owner: found.uid() })
        }
        _ => Ok(()),
    }
}

/// A lock needs no right to write, so that a lock file made by another user serves as well.
pub(super) fn open_lock(path: &Path) -> Result<File> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
        }
        opened => opened,
    }
    .map_err(failed("open", path))
}
