//! Scenes for the rules, one by one.
