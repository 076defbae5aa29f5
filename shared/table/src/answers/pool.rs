//! Values that many rows share: each is kept once, and goes with the last row that holds it.

use hashbrown::{DefaultHashBuilder, Equivalent, HashTable};
use std::hash::{BuildHasher as _, Hash};

/// Values by their place. The hash is seeded: what is kept may come from outside.
#[derive(Debug)]
pub(super) struct Pool<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    places: HashTable<u32>,
    seed: DefaultHashBuilder,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    /// How many hold it; its place is free at 0.
    holders: u32,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        let (entries, free) = (Vec::new(), Vec::new());
        Self { entries, free, places: HashTable::new(), seed: DefaultHashBuilder::default() }
    }
}

impl<T: Hash + Eq> Pool<T> {
    /// The place of a value like `wanted`, held once more; `make` makes it where there is none.
    pub fn hold<Q: Hash + Equivalent<T> + ?Sized>(&mut self, wanted: &Q, make: impl FnOnce() -> T) -> u32 {
        let hash = self.seed.hash_one(wanted);
        let entries = &mut self.entries;
        if let Some(&place) =
            self.places.find(hash, |place| wanted.equivalent(&entries[*place as usize].value))
        {
            entries[place as usize].holders += 1;
            return place;
        }
        let entry = Entry { value: make(), holders: 1 };
        let place = match self.free.pop() {
            Some(place) => {
                entries[place as usize] = entry;
                place
            }
            None => {
                entries.push(entry);
                u32::try_from(entries.len() - 1).expect("a table has no 2^32 rows")
            }
        };
        let seed = &self.seed;
        self.places.insert_unique(hash, place, |place| seed.hash_one(&entries[*place as usize].value));
        place
    }

    /// One holder less.
    pub fn release(&mut self, place: u32) {
        let entry = &mut self.entries[place as usize];
        entry.holders -= 1;
        if entry.holders == 0 {
            let hash = self.seed.hash_one(&entry.value);
            if let Ok(found) = self.places.find_entry(hash, |known| *known == place) {
                found.remove();
            }
            self.free.push(place);
        }
    }

    /// The value at a place that is held.
    pub fn at(&self, place: u32) -> &T {
        &self.entries[place as usize].value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(pool: &mut Pool<String>, text: &str) -> u32 {
        pool.hold(text, || text.to_owned())
    }

    #[test]
    fn the_same_value_is_kept_once_and_as_long_as_it_is_held() {
        let mut pool = Pool::default();
        let (a, b) = (hold(&mut pool, "a"), hold(&mut pool, "b"));
        assert_eq!(hold(&mut pool, "a"), a);
        pool.release(a);
        assert_eq!((pool.at(a).as_str(), pool.at(b).as_str()), ("a", "b"));
        pool.release(a);
        assert_eq!(hold(&mut pool, "c"), a, "its place was free");
        assert_eq!(hold(&mut pool, "b"), b);
        assert_eq!(pool.at(a), "c");
        assert_ne!(hold(&mut pool, "a"), a);
    }
}
