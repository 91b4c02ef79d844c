//! From a choice to a directory that has its name.
//!
//! In: a listing, what is chosen of it, the directory of models. Out: `org/name` in it, complete; a record of the hashes.
//! What comes stands in `org/name.partial` until then, each finished file under its own path, each unfinished one under
//! its hash. One process at a time works on a model; a second one waits, and finds it there. What an older download of the
//! model has in common with the new one is not fetched again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lattice_files::{FilesError, Paths, Stage, make_folders, sync_dir};

use crate::client::Client;
use crate::part::Part;
use crate::record::hash_file;
use crate::work::{self, Event, Line, Watch};
use crate::{Choice, Hub, HubError, Listing, Record, RecordedFile, RemoteFile, fetch, url};

/// Holds unfinished files. No file of a repository is called so: a plain name begins with no dot.
const PARTS: &str = ".parts";
/// The stage's own file.
const LOCK: &str = "lock";
/// Hashing a file of this length is worth a word.
const LONG_BYTES: u64 = 64 << 20;
/// Between two looks whether another process is done.
const WAIT: Duration = Duration::from_millis(200);

/// What became of asking for a model.
pub enum Taken<'a> {
    /// It is there, at this commit, with every chosen file.
    There(Record),
    /// It may be fetched now.
    Pull(Box<Pull<'a>>),
}

/// Room on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes still to be written.
    pub needed: u64,
    /// Bytes that may be written, where the system tells.
    pub available: Option<u64>,
}

/// A download that nobody else does. Dropped, it keeps what came, and the next one goes on from there.
pub struct Pull<'a> {
    client: Client<'a>,
    listing: Listing,
    choice: Choice,
    stage: Stage,
    /// SHA-256 of the files that are whole.
    whole: Mutex<BTreeMap<String, String>>,
}

impl Hub {
    /// Looks whether the model is in `root` already, and else takes its place there; waits while another process has it.
    ///
    /// # Errors
    /// Something else in its place; [`HubError::Stopped`] while it waits; what the system says.
    pub fn take<'a>(
        &'a self,
        root: &Path,
        listing: Listing,
        choice: Choice,
        watch: &mut Watch<'_>,
    ) -> Result<Taken<'a>, HubError> {
        fs::create_dir_all(root).map_err(HubError::io(root, "create", 0))?;
        let root = root.canonicalize().map_err(HubError::io(root, "open", 0))?;
        let directory = listing.name.directory();
        let (org, name) = directory.split_once('/').unwrap_or((".", &directory));
        let out = make_folders(&root, org)?.join(name);
        loop {
            if let Some(record) = there(&out, &listing, &choice)? {
                return Ok(Taken::There(record));
            }
            let stage = match Paths::of(&out)?.take() {
                Err(FilesError::Busy { .. }) => {
                    if watch(Event::Waiting).is_break() {
                        return Err(HubError::Stopped);
                    }
                    std::thread::sleep(WAIT);
                    continue;
                }
                taken => taken?,
            };
            if let Some(record) = there(&out, &listing, &choice)? {
                stage.discard()?;
                return Ok(Taken::There(record));
            }
            let old = may_be_replaced(&out)?;
            let choice = match &old {
                Some(record) => choice.with(&listing, record),
                None => choice,
            };
            return Ok(Taken::Pull(Box::new(Pull {
                client: self.client(&listing.name)?,
                listing,
                choice,
                stage,
                whole: Mutex::default(),
            })));
        }
    }
}

/// The record of what stands at `out`, if it is the listing's commit and has every chosen file.
fn there(out: &Path, listing: &Listing, choice: &Choice) -> Result<Option<Record>, HubError> {
    let Some(record) = Record::open(out)? else {
        return Ok(None);
    };
    let has = |file: &RemoteFile| {
        let found = record.file(&file.path);
        found.is_some_and(|found| found.bytes == file.bytes && found.is_there(out))
    };
    let all = record.commit == listing.commit && choice.files().all(has);
    Ok(all.then_some(record))
}

/// Refuses a directory that no download made. Out: the record of one that a download did.
fn may_be_replaced(out: &Path) -> Result<Option<Record>, HubError> {
    let refused = |reason: &str| Err(FilesError::refused(out, reason).into());
    match fs::symlink_metadata(out) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HubError::io(out, "look at", 0)(error)),
        Ok(found) if found.is_symlink() => return refused("is a link, and is not replaced"),
        Ok(found) if !found.is_dir() => return refused("is a file where the model goes"),
        Ok(_) => {}
    }
    match Record::open(out)? {
        Some(record) => Ok(Some(record)),
        None => refused("is there, was not pulled, and is not replaced"),
    }
}

impl Pull<'_> {
    /// What the hub has.
    pub fn listing(&self) -> &Listing {
        &self.listing
    }

    /// What is fetched.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// Where everything that came so far can be looked at.
    pub fn path(&self) -> &Path {
        self.stage.partial()
    }

    /// What is still to be written, and the room for it.
    pub fn room(&self) -> Room {
        let partial = self.stage.partial();
        let length = |path: PathBuf| fs::symlink_metadata(path).map_or(0, |found| found.len());
        let missing = |file: &RemoteFile| {
            let part = partial.join(PARTS).join(file.hash.part_name(&file.path));
            let have = length(partial.join(&file.path)).max(length(part));
            // What the older download has in common with this one is a second name, and takes no room.
            match length(self.stage.out().join(&file.path)) == file.bytes {
                true => 0,
                false => file.bytes.saturating_sub(have),
            }
        };
        let add = |sum: u64, file| sum.saturating_add(missing(file));
        Room {
            needed: self.choice.files().fold(0, add),
            available: self.stage.available_bytes(),
        }
    }

    /// Refuses to begin where the disk has too little room.
    ///
    /// # Errors
    /// [`FilesError::NoSpace`].
    pub fn check_room(&self) -> Result<(), HubError> {
        Ok(self.stage.check_room(self.room().needed)?)
    }

    /// The first bytes of a chosen file, fewer if it is shorter: from the disk, if they are there, else by asking for no
    /// more than these.
    ///
    /// # Errors
    /// What the network says, or [`HubError::Content`] where something else came.
    pub fn head(&self, file: &RemoteFile, bytes: u64) -> Result<Vec<u8>, HubError> {
        let bytes = bytes.min(file.bytes);
        let partial = self.stage.partial();
        let part = partial.join(PARTS).join(file.hash.part_name(&file.path));
        for path in [partial.join(&file.path), part] {
            let long = fs::symlink_metadata(&path).is_ok_and(|f| f.is_file() && f.len() >= bytes);
            if long && let Ok(found) = File::open(&path) {
                let mut head = Vec::new();
                let read = found.take(bytes).read_to_end(&mut head);
                read.map_err(HubError::io(&path, "read", 0))?;
                return Ok(head);
            }
        }
        fetch::head(&self.client, &self.url(file), file, bytes)
    }

    /// Fetches everything but the weights, so that it can be looked at first.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub fn fetch_small(&self, watch: &mut Watch<'_>) -> Result<(), HubError> {
        let files: Vec<&RemoteFile> = self.choice.small.iter().collect();
        self.each(&files, watch)
    }

    /// Fetches what is missing, checks all of it, and gives the directory its name.
    ///
    /// # Errors
    /// What the network and the system say; [`HubError::Content`] and [`HubError::Hash`] for a file that stays wrong;
    /// [`HubError::Stopped`]. What came is kept, and the next download goes on from there.
    pub fn fetch(self, watch: &mut Watch<'_>) -> Result<Record, HubError> {
        let files: Vec<&RemoteFile> = self.choice.files().collect();
        self.each(&files, watch)?;
        let partial = self.stage.partial();
        self.prune(partial, "")?;
        let whole = self
            .whole
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let recorded = files.iter().map(|file| RecordedFile {
            file: file.path.clone(),
            bytes: file.bytes,
            sha256: whole.get(&file.path).cloned().unwrap_or_default(),
        });
        let record = Record::new(&self.listing, &self.client.hub.base, recorded.collect());
        record.write(partial)?;
        self.stage.publish(&[])?;
        Ok(record)
    }

    fn each(&self, files: &[&RemoteFile], watch: &mut Watch<'_>) -> Result<(), HubError> {
        make_folders(self.stage.partial(), PARTS)?;
        let at_once = self.client.hub.options.at_once;
        let one = |file: &RemoteFile, line: &mut Line<'_>| self.one(file, line);
        work::each(files, at_once, &one, &|| self.client.shut_down(), watch)
    }

    /// Makes one file whole.
    fn one(&self, file: &RemoteFile, line: &mut Line<'_>) -> Result<(), HubError> {
        let partial = self.stage.partial();
        if let Some((folder, _)) = file.path.rsplit_once('/') {
            make_folders(partial, folder)?;
        }
        let to = partial.join(&file.path);
        let sha256 = match self.known(file, &to, line)? {
            Some(sha256) => {
                line.begin(file.bytes);
                sha256
            }
            None => {
                if file.bytes >= LONG_BYTES {
                    line.checking();
                }
                let mut part = Part::open(&partial.join(PARTS), file, || line.go_on())?;
                line.begin(part.have());
                fetch::fetch(&self.client, &self.url(file), file, &mut part, line)?;
                part.finish(&to)?
            }
        };
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        whole.insert(file.path.clone(), sha256);
        Ok(())
    }

    /// The SHA-256 of a file that an earlier run finished, or that the older download has, if its hash is right.
    fn known(
        &self,
        file: &RemoteFile,
        to: &Path,
        line: &Line<'_>,
    ) -> Result<Option<String>, HubError> {
        let long = |path: &Path| {
            let found = fs::symlink_metadata(path);
            found.is_ok_and(|found| found.is_file() && found.len() == file.bytes)
        };
        let old = self.stage.out().join(&file.path);
        if !long(to) {
            remove(to)?;
            if !long(&old)
                || fs::hard_link(&old, to)
                    .or_else(|_| fs::copy(&old, to).map(drop))
                    .is_err()
            {
                return Ok(None);
            }
        }
        if file.bytes >= LONG_BYTES {
            line.checking();
        }
        let (sha256, found) = hash_file(to, file.bytes, &file.hash, |_bytes| line.go_on())?;
        if found == file.hash {
            return Ok(Some(sha256));
        }
        remove(to)?;
        Ok(None)
    }

    /// Removes what belongs to no chosen file: parts, what an earlier run with another choice left, planted links.
    fn prune(&self, dir: &Path, inside: &str) -> Result<(), HubError> {
        let failed = |action| HubError::io(dir, action, 0);
        for entry in fs::read_dir(dir).map_err(failed("list"))? {
            let entry = entry.map_err(failed("list"))?;
            let name = entry.file_name();
            let path = format!("{inside}{}", name.to_string_lossy());
            let kind = entry.file_type().map_err(failed("look at"))?;
            let folder = format!("{path}/");
            if kind.is_dir()
                && self
                    .choice
                    .files()
                    .any(|file| file.path.starts_with(&folder))
            {
                self.prune(&entry.path(), &folder)?;
            } else if kind.is_dir() {
                fs::remove_dir_all(entry.path()).map_err(failed("clean up"))?;
            } else if !(path == LOCK || self.choice.files().any(|file| file.path == path)) {
                remove(&entry.path())?;
            }
        }
        Ok(sync_dir(dir)?)
    }

    fn url(&self, file: &RemoteFile) -> String {
        format!(
            "{}/{}/resolve/{}/{}",
            self.client.hub.base,
            url::encoded(self.listing.name.repository()),
            self.listing.commit,
            url::encoded(&file.path)
        )
    }
}

fn remove(path: &Path) -> Result<(), HubError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(HubError::io(path, "remove", 0)(error))
        }
        _ => Ok(()),
    }
}
