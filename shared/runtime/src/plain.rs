//! Text from outside on a line of ours: nothing in it can begin a new line, move a terminal or turn the
//! direction of writing around.

use std::borrow::Cow;

/// The text with every character that does not print written as an escape, such as `\n` or `\u{202e}`.
/// What prints stays as it is, so that words in any script remain readable.
pub fn line(text: &str) -> Cow<'_, str> {
    if text.chars().all(prints) {
        return Cow::Borrowed(text);
    }
    let escaped = |character: char| {
        let shown = prints(character).then_some(character);
        let hidden = shown.is_none().then(|| character.escape_debug());
        shown.into_iter().chain(hidden.into_iter().flatten())
    };
    Cow::Owned(text.chars().flat_map(escaped).collect())
}

/// The same for text that we put on several lines ourselves.
pub fn lines(text: &str) -> Cow<'_, str> {
    if text.chars().all(|character| character == '\n' || prints(character)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.split('\n').map(line).collect::<Vec<_>>().join("\n"))
}

/// The same for documents and lines of JSON, whose strings alone can hold such characters: they are escaped as
/// JSON does. JSON by itself escapes the first 32 only.
pub fn json(text: &str) -> Cow<'_, str> {
    let stays = |character: char| character == '\n' || prints(character);
    if text.chars().all(stays) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() * 2);
    for character in text.chars() {
        if stays(character) {
            escaped.push(character);
        } else {
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units);
            escaped.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    Cow::Owned(escaped)
}

/// Whether a character prints: none that controls, is invisible, separates lines, turns the direction
/// around or is assigned to nothing.
pub fn prints(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    // The standard library knows what prints. It escapes combining marks too, but only at the beginning.
    let mut text = [b'x'; 5];
    let length = 1 + character.encode_utf8(&mut text[1..]).len();
    let text = std::str::from_utf8(&text[..length]).unwrap_or_default();
    text.escape_debug().nth(1) == Some(character)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    #[test]
    fn words_stay_and_tricks_show() {
        for text in ["", "plain text, \"quoted\" \\ it's", "schlüssel 鍵 مفتاح cle\u{301} 🔑"] {
            assert_eq!(line(text), text);
        }
        for (text, shown) in [
            ("a\nb", "a\\nb"),
            ("a\r\tb", "a\\r\\tb"),
            ("\u{1b}[2J\u{7}\u{8}\u{7f}", "\\u{1b}[2J\\u{7}\\u{8}\\u{7f}"),
            ("\u{9b}2J\u{85}", "\\u{9b}2J\\u{85}"),
            ("admin\u{202e}gnp\u{2066}", "admin\\u{202e}gnp\\u{2066}"),
            ("a\u{2028}b\u{2029}", "a\\u{2028}b\\u{2029}"),
            ("a\u{200b}\u{feff}\u{e0041}", "a\\u{200b}\\u{feff}\\u{e0041}"),
        ] {
            assert_eq!(line(text), shown);
        }
        assert_eq!(lines("a\nb\r\n\u{1b}"), "a\nb\\r\n\\u{1b}");
    }

    #[test]
    fn json_says_the_same_in_characters_that_print() {
        let text = "a\n\u{9b}2J\u{202e}\u{e0041}\u{7f}\"\\";
        let document = serde_json::json!({ "name": text }).to_string();
        let escaped = json(&document);
        assert_ne!(escaped, document);
        assert!(escaped.chars().all(prints), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap()["name"], text);
    }

    proptest! {
        #[test]
        fn nothing_that_does_not_print_is_left(text in any::<String>()) {
            let shown = line(&text);
            assert!(shown.chars().all(prints), "{shown:?}");
            assert!(!shown.contains(char::is_control));
            assert_eq!(line(&shown), shown.as_ref());
            assert_eq!(lines(&text).matches('\n').count(), text.matches('\n').count());
        }
    }
}
