//! Rules over parsed Rust: lengths of functions, names of modules, `unwrap`, spelled subjects.

use crate::tree::{Offence, Source};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const FUNCTION_LINES_MAX: usize = 70;
const BANNED_MODULES: [&str; 9] =
    ["util", "utils", "common", "helper", "helpers", "misc", "manager", "managers", "stuff"];

/// Functions that no longer fit on a screen.
pub fn long_functions(source: &Source) -> Vec<Offence> {
    let too_long = |function: &&Function| function.lines > FUNCTION_LINES_MAX;
    let offence = |f: &Function| source.offence(f.line, format!("{} has {} lines", f.name, f.lines));
    Walk::over(source).functions.iter().filter(too_long).map(offence).collect()
}

/// Modules whose name says nothing, by file, folder or `mod`.
pub fn banned_modules(source: &Source) -> Vec<Offence> {
    let mut found = Vec::new();
    for part in source.path.trim_end_matches(".rs").split('/') {
        if is_banned(part) {
            found.push(source.offence(0, format!("is called {part}")));
        }
    }
    let named = Walk::over(source).modules.into_iter().filter(|(name, _)| is_banned(name));
    found.extend(named.map(|(name, line)| source.offence(line, format!("mod {name}"))));
    found
}

/// Calls of `.unwrap()` outside `#[cfg(test)]`, inside macros as well.
pub fn unwraps(source: &Source) -> Vec<Offence> {
    Walk::over(source).unwraps.into_iter().map(|line| source.offence(line, ".unwrap()")).collect()
}

/// String literals that spell one of our subjects, outside `#[cfg(test)]`.
pub fn subjects(source: &Source) -> Vec<Offence> {
    Walk::over(source).subjects.into_iter().map(|(line, text)| source.offence(line, text)).collect()
}

/// Where the `#[cfg(test)] mod name;` of a file live: paths without `.rs`.
pub fn test_module_paths(source: &Source) -> Vec<String> {
    Walk::over(source).test_modules.into_iter().map(|name| module_path(&source.path, &name)).collect()
}

fn is_banned(name: &str) -> bool {
    BANNED_MODULES.contains(&name) || name.ends_with("_utils") || name.ends_with("_helpers")
}

fn module_path(file: &str, name: &str) -> String {
    let stem = file.trim_end_matches(".rs");
    let (folder, last) = stem.rsplit_once('/').unwrap_or(("", stem));
    let owns_its_folder = ["lib", "main", "mod"].contains(&last);
    if owns_its_folder { format!("{folder}/{name}") } else { format!("{stem}/{name}") }
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// What one pass over a file gathers.
#[derive(Default)]
struct Walk {
    functions: Vec<Function>,
    modules: Vec<(String, usize)>,
    test_modules: Vec<String>,
    unwraps: Vec<usize>,
    subjects: Vec<(usize, String)>,
    test_depth: usize,
}

impl Walk {
    fn over(source: &Source) -> Walk {
        let file = syn::parse_file(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.path));
        let mut walk = Walk::default();
        walk.visit_file(&file);
        walk
    }

    fn in_production(&self) -> bool {
        self.test_depth == 0
    }

    fn within(&mut self, attrs: &[syn::Attribute], go: impl FnOnce(&mut Walk)) {
        let step = usize::from(attrs.iter().any(is_test_attribute));
        self.test_depth += step;
        go(self);
        self.test_depth -= step;
    }

    fn measure(&mut self, signature: &syn::Signature, end: proc_macro2::Span) {
        let line = signature.fn_token.span().start().line;
        let lines = end.end().line + 1 - line;
        self.functions.push(Function { name: signature.ident.to_string(), line, lines });
    }

    fn note_literal(&mut self, text: &str, line: usize) {
        let spelled = text.trim_start_matches(['b', 'r', '#']).trim_start_matches('"');
        if self.in_production() && spelled.starts_with("kw.") {
            self.subjects.push((line, text.into()));
        }
    }
}

impl<'ast> Visit<'ast> for Walk {
    /// Attributes hold documentation, which may speak of anything.
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let name = item.ident.to_string();
        self.modules.push((name.clone(), item.ident.span().start().line));
        if item.content.is_none() && item.attrs.iter().any(is_test_attribute) {
            self.test_modules.push(name);
        }
        self.within(&item.attrs, |walk| visit::visit_item_mod(walk, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.within(&item.attrs, |walk| visit::visit_item_impl(walk, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig, item.block.span());
        self.within(&item.attrs, |walk| visit::visit_item_fn(walk, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig, item.block.span());
        self.within(&item.attrs, |walk| visit::visit_impl_item_fn(walk, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.measure(&item.sig, item.span());
        self.within(&item.attrs, |walk| visit::visit_trait_item_fn(walk, item));
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if self.in_production() && call.method == "unwrap" {
            self.unwraps.push(call.method.span().start().line);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_lit(&mut self, literal: &'ast syn::Lit) {
        if let syn::Lit::Str(text) = literal {
            self.note_literal(&text.token().to_string(), text.span().start().line);
        } else if let syn::Lit::ByteStr(text) = literal {
            self.note_literal(&text.token().to_string(), text.span().start().line);
        }
    }

    /// What stands inside a macro call is not parsed: its tokens are looked at one by one.
    fn visit_token_stream(&mut self, tokens: &'ast TokenStream) {
        self.scan(tokens);
    }
}

impl Walk {
    fn scan(&mut self, tokens: &TokenStream) {
        let mut before = [None, None];
        for token in tokens.clone() {
            let line = token.span().start().line;
            match &token {
                TokenTree::Group(group) => {
                    let called =
                        group.delimiter() == Delimiter::Parenthesis && before == [Some('.'), Some('u')];
                    if called && self.in_production() {
                        self.unwraps.push(line);
                    }
                    self.scan(&group.stream());
                }
                TokenTree::Literal(literal) => self.note_literal(&literal.to_string(), line),
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
            before = [before[1], mark(&token)];
        }
    }
}

/// The two tokens that a call of `unwrap` begins with; nothing for all others.
fn mark(token: &TokenTree) -> Option<char> {
    match token {
        TokenTree::Punct(punct) if punct.as_char() == '.' => Some('.'),
        TokenTree::Ident(ident) if ident == "unwrap" => Some('u'),
        TokenTree::Punct(_) | TokenTree::Ident(_) | TokenTree::Group(_) | TokenTree::Literal(_) => None,
    }
}

/// `#[test]`, `#[tokio::test]`, `#[cfg(test)]`, `#[cfg(all(test, …))]`.
fn is_test_attribute(attribute: &syn::Attribute) -> bool {
    let path = attribute.path();
    let named_test = path.segments.last().is_some_and(|segment| segment.ident == "test");
    let condition = attribute.meta.require_list().ok().filter(|_| path.is_ident("cfg"));
    let condition = condition.map_or(String::new(), |list| list.tokens.to_string().replace(' ', ""));
    named_test || condition == "test" || condition.starts_with("all(test,")
}

#[cfg(test)]
mod proofs {
    use super::*;

    fn lines(offences: Vec<Offence>) -> Vec<usize> {
        offences.into_iter().map(|offence| offence.line).collect()
    }

    #[test]
    fn a_long_function_is_found_wherever_it_stands() {
        let places = [
            "fn a() BODY",
            "impl A { fn a() BODY }",
            "trait A { fn a() BODY }",
            "mod a { mod b { fn a() BODY } }",
        ];
        for place in places {
            for (lines, found) in [(FUNCTION_LINES_MAX, 0), (FUNCTION_LINES_MAX + 1, 1)] {
                let body = format!("{{\n{}}}", "x();\n".repeat(lines - 2));
                let offences = long_functions(&Source::of("a.rs", &place.replace("BODY", &body)));
                assert_eq!(offences.len(), found, "{lines} lines in {place}");
            }
        }
    }

    #[test]
    fn an_unwrap_is_found_outside_tests_alone() {
        let text = r#"
            fn a() { x.unwrap(); }
            fn b() { assert!(x.unwrap() > 1); }
            fn c() { format!("{}", vec![y.z().unwrap()]); }
            fn d() { x.unwrap_or(1); unwrap(); "x.unwrap()"; /* x.unwrap() */ }
            #[cfg(not(test))] fn e() { x.unwrap(); }
            #[cfg(test)] mod tests { fn a() { x.unwrap(); assert!(x.unwrap()); } }
            #[test] fn f() { x.unwrap(); }
            #[tokio::test] async fn g() { x.unwrap(); }
        "#;
        assert_eq!(lines(unwraps(&Source::of("a.rs", text))), [2, 3, 4, 6]);
    }

    #[test]
    fn a_spelled_subject_is_found() {
        let text = r##"
            const A: &str = "kw.evt";
            fn b() { format!("kw.cmd.{t}"); }
            fn c() { subscribe(r#"kw.use.>"#); }
            fn d() { subscribe(b"kw.use.>"); }
            /// kw.evt.T.C
            fn e() { let kw = "kw_live"; "a kw.evt"; }
            #[cfg(test)] mod tests { fn a() { subscribe("kw.use.>"); } }
        "##;
        assert_eq!(lines(subjects(&Source::of("a.rs", text))), [2, 3, 4, 5]);
    }

    #[test]
    fn an_empty_name_is_found() {
        assert_eq!(banned_modules(&Source::of("services/a/src/utils.rs", "")).len(), 1);
        assert_eq!(banned_modules(&Source::of("services/a/src/common/mod.rs", "")).len(), 1);
        assert_eq!(lines(banned_modules(&Source::of("a.rs", "\nmod helpers { mod manager {} }"))), [2, 2]);
        assert_eq!(banned_modules(&Source::of("services/a/src/commons.rs", "mod miscount;")), []);
    }

    #[test]
    fn test_modules_in_files_of_their_own_are_followed() {
        let text = "#[cfg(test)] mod sample; mod other; #[cfg(test)] mod inline {}";
        assert_eq!(test_module_paths(&Source::of("a/src/lib.rs", text)), ["a/src/sample"]);
        assert_eq!(test_module_paths(&Source::of("a/src/edge.rs", text)), ["a/src/edge/sample"]);
    }
}
