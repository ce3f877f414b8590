use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, channel};

use tempfile::TempDir;

use super::*;
use crate::audit::{self, Audit, Output};
use crate::clock::{ManualClock, SystemClock};
use crate::crypto::{AuditKey, KeptAuditName};
use crate::identifiers::{ClientSecret, Environment};

/// A directory as the kubelet mounts a Secret: names that lead through `..data` into one version of all files.
struct Mount {
    directory: TempDir,
    version: usize,
}

impl Mount {
    fn new(files: &[(&str, &str)]) -> Self {
        let mut mount = Self { directory: TempDir::new().unwrap(), version: 0 };
        mount.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), mount.directory.path().join(name)).unwrap();
        }
        mount
    }

    /// What the kubelet does: a new directory, a new link beside the old one, and a rename.
    fn swap(&mut self, files: &[(&str, &str)]) {
        self.version += 1;
        let root = self.directory.path();
        let version = format!("..version_{}", self.version);
        fs::create_dir(root.join(&version)).unwrap();
        for (name, content) in files {
            fs::write(root.join(&version).join(name), content).unwrap();
        }
        symlink(&version, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// A pair of files that belong together when they hold the same.
fn pair(mount: &Mount) -> (Subject, Receiver<String>) {
    let (sender, receiver) = channel();
    let files = vec![mount.file("one"), mount.file("other")];
    let of_both = files.clone();
    let read = move || {
        let (one, other) = (fs::read_to_string(&of_both[0])?, fs::read_to_string(&of_both[1])?);
        if one != other || one.is_empty() {
            return Err(io::Error::other("they do not belong together"));
        }
        Ok(one)
    };
    let subject = Subject::new("pair", files, read, move |content| sender.send(content).unwrap());
    (subject, receiver)
}

#[test]
fn what_cannot_be_used_leaves_what_is_there() {
    let mut mount = Mount::new(&[("one", "a"), ("other", "a")]);
    let (mut subject, in_use) = pair(&mount);
    let mut look = || {
        subject.look();
        in_use.try_iter().collect::<Vec<_>>()
    };
    assert!(look().is_empty(), "what is in use is not put there again");
    for bad in [
        &[("one", "b"), ("other", "c")][..],
        &[("one", ""), ("other", "")],
        &[("one", "b")],
        &[],
        &[("one", "c"), ("other", "b")],
    ] {
        mount.swap(bad);
        assert!(look().is_empty(), "{bad:?}");
    }
    mount.swap(&[("one", "d"), ("other", "d")]);
    assert_eq!(look(), ["d"]);
    mount.swap(&[("one", "a"), ("other", "a")]);
    assert_eq!(look(), ["a"], "an older version may come back");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_read_again() {
    let mount = Mount::new(&[("one", "a"), ("other", "a")]);
    let file = mount.file("one");
    let (sender, in_use) = channel();
    // After each reading another content is written; the last is what is in use already.
    let mut next = vec!["a", "half", "b"];
    let of_read = file.clone();
    let read = move || {
        let content = fs::read_to_string(&of_read)?;
        if let Some(content) = next.pop() {
            fs::write(&of_read, content)?;
        }
        Ok::<_, io::Error>(content)
    };
    let mut subject = Subject::new("moving", vec![file.clone()], read, move |content| sender.send(content).unwrap());
    fs::write(&file, "torn").unwrap();
    subject.look();
    assert_eq!(in_use.try_iter().count(), 0, "nothing that did not stay is put to use");
    assert_eq!(fs::read_to_string(file).unwrap(), "a");
}

#[test]
fn a_swapped_mount_is_noticed_within_two_seconds() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut mount = Mount::new(&[("one", "0"), ("other", "0")]);
    let (subject, in_use) = pair(&mount);
    runtime.spawn(follow(vec![subject], Arc::new(SystemClock)));
    let patience = Duration::from_secs(20);
    for version in 1..=3 {
        let content = version.to_string();
        let swapped = SystemClock.elapsed();
        mount.swap(&[("one", &content), ("other", &content)]);
        assert_eq!(in_use.recv_timeout(patience).unwrap(), content);
        let after = SystemClock.elapsed().saturating_sub(swapped);
        println!("a swapped mount is in use {} ms later", after.as_millis());
        assert!(after < Duration::from_secs(2));
    }
}

#[test]
fn without_being_told_files_are_looked_at_twice_a_minute() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = TempDir::new().unwrap();
    // The directory is not there when the watch begins: no more is told of it than of a network file system.
    let place = directory.path().join("later");
    let (sender, in_use) = channel();
    let file = place.join("one");
    let of_replace = file.clone();
    let read = move || {
        let content = fs::read_to_string(&of_replace);
        sender.send(content.as_ref().ok().cloned()).unwrap();
        content
    };
    let subject = Subject::new("late", vec![file.clone()], read, drop);
    let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
    runtime.spawn(follow(vec![subject], Arc::new(clock.clone())));
    let next = || {
        let patience = Duration::from_secs(20);
        let seen = in_use.recv_timeout(patience).unwrap();
        while clock.sleepers() == 0 {
            std::thread::yield_now();
        }
        seen
    };
    while clock.sleepers() == 0 {
        std::thread::yield_now();
    }
    fs::create_dir(&place).unwrap();
    fs::write(&file, "there").unwrap();
    clock.advance(LOOK_INTERVAL);
    assert_eq!(next().as_deref(), Some("there"));
}

#[test]
fn files_that_hang_hold_up_nobody_elses() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("one");
    fs::write(&file, "a").unwrap();
    let (hangs, end) = channel::<()>();
    let hanging = Subject::new("hanging", Vec::new(), move || end.recv().map_err(io::Error::other), drop);
    let (sender, in_use) = channel();
    let of_read = file.clone();
    let read = move || fs::read_to_string(&of_read);
    let other = Subject::new("other", vec![file.clone()], read, move |content: String| sender.send(content).unwrap());
    let subjects = vec![hanging.depending_on_time(), other];
    runtime.spawn(follow(subjects, Arc::new(SystemClock)));
    fs::write(&file, "b").unwrap();
    assert_eq!(in_use.recv_timeout(Duration::from_secs(20)).unwrap(), "b");
    // The runtime waits for what blocks.
    drop(hangs);
}

#[tokio::test]
async fn the_audits_key_is_the_files_as_soon_as_it_changes() {
    let directory = TempDir::new().unwrap();
    let key_file = directory.path().join("key");
    fs::write(&key_file, "gC9rS3dKxg1Yv8xEkVxTV0y1zPqVn5mU0sPq2nQd7Ys=\n").unwrap();
    let output = Output::File(directory.path().join("audit"));
    let settings = audit::Settings { output, hmac_key_file: Some(key_file.clone()), ..audit::Settings::default() };
    let secret = ClientSecret::new("secret");
    let audit = Audit::open(&settings, Environment::Sod, &secret, Arc::new(SystemClock)).await.unwrap();
    let issued = || audit.issued("7T:ticket", &KeptAuditName::default(), jiff::Timestamp::UNIX_EPOCH, "cache").unwrap();
    let first = issued();
    assert_ne!(first.key, AuditKey::of_client(&secret).id());
    let mut subject = audit_key(&audit).unwrap();
    for content in ["short", "0yqTx6rJ2VYhQdD4bqk3cW5eFv1nGm8uLs7pRt9wXz2="] {
        assert_eq!(issued().key, first.key);
        fs::write(&key_file, content).unwrap();
        subject.look();
    }
    let second = issued();
    assert!(second.key != first.key && second.name != first.name);
}
