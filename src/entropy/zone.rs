//! The keys of a zone at the node that holds them: the one the zone has, and the next one while a rotation is on its way.
//!
//! What must always hold: the next key is on disk before anybody hears of it, and takes the place of the former one only once the
//! zone has it. A crash at any point leaves a node that holds its zone's key.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{EntropyError, KeyPair, ZONE_KEY_FILE, ZoneKey};

/// The zone's next key, while it is not the zone's yet, in `<data>/zone.next.key`.
pub const NEXT_ZONE_KEY_FILE: &str = "zone.next.key";

/// A zone's key, and the next one.
#[derive(Debug)]
pub struct ZoneKeys {
    /// Nothing for keys in memory.
    data: Option<PathBuf>,
    current: ZoneKey,
    next: Option<ZoneKey>,
}

impl ZoneKeys {
    /// A new key that lives in memory only.
    ///
    /// # Errors
    /// [`EntropyError::Chance`].
    pub fn memory() -> Result<Self, EntropyError> {
        Ok(Self { data: None, current: ZoneKey::memory()?, next: None })
    }

    /// The keys kept in that data directory; the first one is made there when there is none.
    ///
    /// # Errors
    /// As for [`ZoneKey::load_or_create`].
    pub fn load_or_create(data: &Path) -> Result<Self, EntropyError> {
        let current = ZoneKey::load_or_create(data)?;
        let next = KeyPair::load(&data.join(NEXT_ZONE_KEY_FILE))?.map(ZoneKey);
        Ok(Self { data: Some(data.to_owned()), current, next })
    }

    /// The key the zone had when these were last settled.
    pub const fn current(&self) -> &ZoneKey {
        &self.current
    }

    /// A key that was made for a rotation, which may have taken place.
    pub const fn next(&self) -> Option<&ZoneKey> {
        self.next.as_ref()
    }

    /// The key to rotate to, kept before it is given out: a new one, or the one an earlier rotation did not come to use.
    ///
    /// # Errors
    /// No entropy, or a directory that cannot be written.
    pub fn make_next(&mut self) -> Result<ZoneKey, EntropyError> {
        let next = match (&self.next, &self.data) {
            (Some(next), _) => next.clone(),
            (None, Some(data)) => ZoneKey(KeyPair::load_or_create(&data.join(NEXT_ZONE_KEY_FILE))?),
            (None, None) => ZoneKey::memory()?,
        };
        self.next = Some(next.clone());
        Ok(next)
    }

    /// The zone has that key: if it is the next one, the former is not needed any more and goes.
    ///
    /// # Errors
    /// A directory that cannot be written; the keys stay as they were.
    pub fn settle(&mut self, zone_key: &[u8; 32]) -> Result<(), EntropyError> {
        let Some(next) = self.next.clone().filter(|next| next.public() == *zone_key) else { return Ok(()) };
        if let Some(data) = &self.data {
            let path = data.join(ZONE_KEY_FILE);
            let error = |source| EntropyError::File { verb: "write", path: path.clone(), source };
            fs::rename(data.join(NEXT_ZONE_KEY_FILE), &path).map_err(error)?;
            File::open(data).and_then(|directory| directory.sync_all()).map_err(error)?;
        }
        (self.current, self.next) = (next, None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_key_is_kept_until_it_is_the_zone_s() {
        let data = tempfile::tempdir().unwrap();
        let mut keys = ZoneKeys::load_or_create(data.path()).unwrap();
        let (first, next) = (keys.current().public(), keys.make_next().unwrap().public());
        assert_ne!(first, next);

        // A rotation that did not take place, and another start: the key that was made is the one to use.
        keys.settle(&first).unwrap();
        let mut keys = ZoneKeys::load_or_create(data.path()).unwrap();
        assert_eq!((keys.current().public(), keys.next().map(ZoneKey::public)), (first, Some(next)));
        assert_eq!(keys.make_next().unwrap().public(), next);

        keys.settle(&next).unwrap();
        let mut keys = ZoneKeys::load_or_create(data.path()).unwrap();
        assert_eq!((keys.current().public(), keys.next().is_none()), (next, true));
        assert_ne!(keys.make_next().unwrap().public(), next);
    }

    #[test]
    fn a_node_in_memory_rotates_as_well() {
        let mut keys = ZoneKeys::memory().unwrap();
        let next = keys.make_next().unwrap().public();
        keys.settle(&next).unwrap();
        assert_eq!((keys.current().public(), keys.next().is_none()), (next, true));
    }
}
