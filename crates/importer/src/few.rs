//! JSON lists of which no more is kept than needed. A page of a few megabytes can hold millions of empty objects,
//! each of which would become a struct of a hundred bytes.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

/// Reads a list, or null for none, and keeps at most `N + 1` elements: enough to see that it is longer than `N`.
/// For serde's `deserialize_with`.
pub(crate) fn few<'de, D, T, const N: usize>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_any(Few::<T, N>(PhantomData))
}

struct Few<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Few<T, N> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() <= N {
            match list.next_element()? {
                Some(element) => kept.push(element),
                None => return Ok(Some(kept)),
            }
        }
        // The rest is still read: it might not be JSON, which is another fault.
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Some(kept))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[test]
    fn a_list_is_kept_up_to_one_more_than_its_limit() {
        #[derive(Deserialize)]
        struct Holder {
            #[serde(default, deserialize_with = "super::few::<_, _, 2>")]
            list: Option<Vec<u8>>,
        }
        let check = |json: &str, expected: Option<Option<&[u8]>>| {
            let found = serde_json::from_str::<Holder>(json).ok().map(|holder| holder.list);
            assert_eq!(found.as_ref().map(|list| list.as_deref()), expected, "{json}");
        };
        check("{}", Some(None));
        check(r#"{"list":null}"#, Some(None));
        check(r#"{"list":[]}"#, Some(Some(&[])));
        check(r#"{"list":[1,2]}"#, Some(Some(&[1, 2])));
        check(r#"{"list":[1,2,3,4,5]}"#, Some(Some(&[1, 2, 3])));
        check(r#"{"list":[1,2,3,4,oops]}"#, None);
        check(r#"{"list":5}"#, None);
    }
}
