//! Compiled components on disk, so that a known one loads in a millisecond instead of being compiled.
//!
//! Compiled code is native code: whoever can write an entry can run anything as the host. So the directory
//! is private to the user, every entry is authenticated with a key that only this user can read, and an
//! entry that fails any check is ignored with a warning and made again.

use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use sha2::{Digest as _, Sha256};

use super::artifact::Digest;
use super::compiled::{Code, Compiled};

const KEY_FILE: &str = "key";
const EXTENSION: &str = "cwasm";
const TAG: usize = 32;

/// A directory of compiled components.
pub struct CompiledCache {
    dir: PathBuf,
    key: [u8; 32],
    max_bytes: u64,
    /// Names the host's version, the compiler, its settings and the processor: code made for others does not run
    /// here.
    engine: String,
}

impl CompiledCache {
    /// Opens or makes `dir`. Refuses a directory that others own or may write to.
    pub fn open(dir: &Path, max_bytes: u64, engine: &wasmtime::Engine) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        check_private(dir, &fs::symlink_metadata(dir)?)?;
        let key = read_or_make_key(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            key,
            max_bytes,
            engine: compatibility(engine),
        })
    }

    /// This compiled form of the component with this digest, if there is a trustworthy one.
    pub fn load(&self, digest: Digest, form: &str, engine: &wasmtime::Engine) -> Option<Compiled> {
        let name = self.entry_name(digest, form);
        match self.read_entry(&name) {
            Ok(code) => Compiled::load(engine, &code)
                .inspect_err(|error| tracing::warn!(entry = name, %error, "compiled component does not load"))
                .ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(entry = name, %error, "compiled component ignored");
                None
            }
        }
    }

    /// Keeps a compiled component. A failure costs only the next start its head start.
    pub fn store(&self, digest: Digest, form: &str, code: &Code) {
        let name = self.entry_name(digest, form);
        let stored = self
            .write_entry(&name, code.bytes())
            .and_then(|()| self.evict(&name));
        if let Err(error) = stored {
            tracing::warn!(entry = name, %error, "compiled component not cached");
        }
    }

    fn entry_name(&self, digest: Digest, form: &str) -> String {
        format!("{}-{}-{}.{EXTENSION}", digest.hex(), form, self.engine)
    }

    /// The tag covers the name, so that one component's code cannot be passed off as another's.
    fn tag(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(name.as_bytes());
        mac.update(&[0]);
        mac.update(code);
        mac
    }

    #[allow(unsafe_code)]
    fn read_entry(&self, name: &str) -> io::Result<Code> {
        let path = self.dir.join(name);
        let mut file = File::open(&path)?;
        check_private(&path, &file.metadata()?)?;
        let mut tag = [0; TAG];
        file.read_exact(&mut tag)?;
        let mut code = Vec::new();
        file.read_to_end(&mut code)?;
        self.tag(name, &code).verify_slice(&tag).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, "it was not made by this installation")
        })?;
        // SAFETY: these are the bytes of a `Code`. They were tagged by `write_entry` with a key that only this user
        // can read, and the tag has been verified over exactly these bytes; version and processor are part of
        // the entry's name.
        Ok(unsafe { Code::kept(code) })
    }

    fn write_entry(&self, name: &str, code: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(&self.tag(name, code).finalize().into_bytes())?;
        file.write_all(code)?;
        file.persist(self.dir.join(name))?;
        Ok(())
    }

    /// Drops the entries longest unused until the rest fit; never `keep`.
    fn evict(&self, keep: &str) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            // The rest are entries on their way, of this host or another one; they may be gone already.
            if entry
                .path()
                .extension()
                .is_some_and(|extension| extension == EXTENSION)
            {
                let metadata = entry.metadata()?;
                entries.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in entries {
            if total <= self.max_bytes {
                break;
            }
            if path.file_name().is_some_and(|name| name != keep) {
                fs::remove_file(&path)?;
                total -= bytes;
            }
        }
        Ok(())
    }
}

/// # Errors
/// When the owner is someone else or others may write, or read what must stay secret.
fn check_private(path: &Path, metadata: &fs::Metadata) -> io::Result<()> {
    let owner = rustix::process::geteuid().as_raw();
    if metadata.uid() != owner || metadata.permissions().mode() & 0o077 != 0 || metadata.is_symlink() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "{} must belong to this user and be closed to others",
                path.display()
            ),
        ));
    }
    Ok(())
}

fn read_or_make_key(dir: &Path) -> io::Result<[u8; 32]> {
    let path = dir.join(KEY_FILE);
    match read_key(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    // It gets its name when it is whole: a crash leaves no key, and another host that starts reads no half.
    let key: [u8; 32] = rand::random();
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(&path) {
        Ok(_) => Ok(key),
        Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => read_key(&path),
        Err(lost) => Err(lost.error),
    }
}

fn read_key(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    check_private(path, &file.metadata()?)?;
    let mut key = [0; 32];
    file.read_exact(&mut key)
        .map_err(|error| io::Error::new(error.kind(), format!("{} is damaged: delete it", path.display())))?;
    Ok(key)
}

fn compatibility(engine: &wasmtime::Engine) -> String {
    struct Collect(Sha256);
    impl Hasher for Collect {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut collect = Collect(Sha256::new());
    // Which components are taken apart, and how, is the host's own affair.
    collect.write(env!("CARGO_PKG_VERSION").as_bytes());
    engine.precompile_compatibility_hash().hash(&mut collect);
    collect
        .0
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::artifact::Artifact;
    use crate::plugin::compiled::Form;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn engine() -> wasmtime::Engine {
        wasmtime::Engine::default()
    }

    fn code(engine: &wasmtime::Engine) -> Code {
        let artifact = Artifact {
            path: PathBuf::new(),
            digest: Digest::of(COMPONENT),
            contract: String::new(),
            imports: Vec::new(),
            bytes: COMPONENT.to_vec(),
        };
        Code::compile(engine, &artifact, &Form::Component).expect("compiled")
    }

    fn entry_path(cache: &CompiledCache) -> PathBuf {
        cache
            .dir
            .join(cache.entry_name(Digest::of(COMPONENT), Form::COMPONENT))
    }

    fn filled(dir: &Path) -> (CompiledCache, wasmtime::Engine) {
        let engine = engine();
        let cache = CompiledCache::open(&dir.join("cache"), 1 << 20, &engine).expect("open");
        let code = code(&engine);
        cache.store(Digest::of(COMPONENT), Form::COMPONENT, &code);
        (cache, engine)
    }

    #[test]
    fn what_was_stored_loads_again() {
        let dir = tempfile::tempdir().expect("dir");
        let (cache, engine) = filled(dir.path());
        assert!(
            cache
                .load(Digest::of(COMPONENT), Form::COMPONENT, &engine)
                .is_some()
        );
        assert!(
            cache
                .load(Digest::of(b"other"), Form::COMPONENT, &engine)
                .is_none()
        );
        let again = CompiledCache::open(&dir.path().join("cache"), 1 << 20, &engine).expect("open");
        assert!(
            again
                .load(Digest::of(COMPONENT), Form::COMPONENT, &engine)
                .is_some()
        );
        assert_eq!(
            fs::metadata(&cache.dir).expect("dir").permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(
            fs::metadata(entry_path(&cache))
                .expect("entry")
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
    }

    #[test]
    fn changed_foreign_and_open_entries_are_ignored() {
        let dir = tempfile::tempdir().expect("dir");
        let (cache, engine) = filled(dir.path());
        let path = entry_path(&cache);
        let good = fs::read(&path).expect("read");
        for position in [0, TAG, good.len() - 1] {
            let mut bad = good.clone();
            bad[position] ^= 1;
            fs::write(&path, bad).expect("write");
            assert!(
                cache
                    .load(Digest::of(COMPONENT), Form::COMPONENT, &engine)
                    .is_none(),
                "byte {position}"
            );
        }
        fs::write(&path, &good[..10]).expect("write");
        assert!(
            cache
                .load(Digest::of(COMPONENT), Form::COMPONENT, &engine)
                .is_none(),
            "cut"
        );
        let (other, _) = filled(&dir.path().join("elsewhere"));
        fs::copy(entry_path(&other), &path).expect("copy");
        assert!(
            cache
                .load(Digest::of(COMPONENT), Form::COMPONENT, &engine)
                .is_none(),
            "another installation's"
        );
        fs::write(&path, &good).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).expect("chmod");
        assert!(
            cache
                .load(Digest::of(COMPONENT), Form::COMPONENT, &engine)
                .is_none(),
            "writable by others"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        assert!(
            cache
                .load(Digest::of(COMPONENT), Form::COMPONENT, &engine)
                .is_some(),
            "as it was"
        );
    }

    #[test]
    fn a_directory_open_to_others_is_refused() {
        let dir = tempfile::tempdir().expect("dir");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        assert!(CompiledCache::open(dir.path(), 1, &engine()).is_err());
    }

    #[test]
    fn the_cache_is_bounded() {
        let dir = tempfile::tempdir().expect("dir");
        let engine = engine();
        let cache = CompiledCache::open(&dir.path().join("cache"), 1, &engine).expect("open");
        let code = code(&engine);
        cache.store(Digest::of(b"first"), Form::COMPONENT, &code);
        cache.store(Digest::of(COMPONENT), Form::COMPONENT, &code);
        assert!(
            cache
                .load(Digest::of(b"first"), Form::COMPONENT, &engine)
                .is_none()
        );
        assert!(
            cache
                .load(Digest::of(COMPONENT), Form::COMPONENT, &engine)
                .is_some()
        );
    }
}
