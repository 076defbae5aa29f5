//! What prints is decided twice, because the runtime imports nothing of ours: both say the same.

use keywheel_domain::name;
use keywheel_runtime::plain;

#[test]
fn both_agree_on_every_character() {
    for character in '\0'..=char::MAX {
        assert_eq!(name::prints(character), plain::prints(character), "{character:?}");
    }
}
