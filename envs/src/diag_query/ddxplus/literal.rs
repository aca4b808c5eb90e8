//! Python list literals, as the list cells of the patient tables hold them: `['E_48', 'E_54_@_V_161']` and
//! `[['Bronchitis', 0.19], ['Pneumonia', 0.18]]`.

/// A part of a literal.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Comma,
    Text(String),
    Number(f64),
}

/// The strings of a flat list.
pub fn strings(cell: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    list(&tokens(cell)?, |item, rest| match item {
        Token::Text(text) => {
            found.push(text.clone());
            Ok(rest)
        }
        _ => Err("expected a list of strings in quotes".to_owned()),
    })?;
    Ok(found)
}

/// The pairs of a list of `[string, number]`.
pub fn pairs(cell: &str) -> Result<Vec<(String, f64)>, String> {
    let mut found = Vec::new();
    list(&tokens(cell)?, |item, rest| match (item, rest) {
        (Token::Open, [Token::Text(text), Token::Comma, Token::Number(number), Token::Close, rest @ ..]) => {
            found.push((text.clone(), *number));
            Ok(rest)
        }
        _ => Err("expected a list of [name in quotes, number]".to_owned()),
    })?;
    Ok(found)
}

/// Walks the items of a list; `each` gets the first token of an item and the rest, and returns what comes after it.
fn list<'a>(
    tokens: &'a [Token],
    mut each: impl FnMut(&'a Token, &'a [Token]) -> Result<&'a [Token], String>,
) -> Result<(), String> {
    let [Token::Open, inside @ ..] = tokens else { return Err("expected [ at the start of a list".to_owned()) };
    let mut rest = inside;
    loop {
        match rest {
            [Token::Close] => return Ok(()),
            [Token::Close, ..] => return Err("expected nothing after the list".to_owned()),
            [item, after @ ..] => rest = each(item, after)?,
            [] => return Err("the list does not end, expected ]".to_owned()),
        }
        match rest {
            [Token::Comma, after @ ..] => rest = after,
            [Token::Close, ..] => {}
            _ => return Err("expected , or ] after an item of the list".to_owned()),
        }
    }
}

fn tokens(cell: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = cell.trim();
    while let Some(first) = rest.chars().next() {
        let mut len = first.len_utf8();
        match first {
            '[' | '(' => tokens.push(Token::Open),
            ']' | ')' => tokens.push(Token::Close),
            ',' => tokens.push(Token::Comma),
            '\'' | '"' => {
                let (text, end) = quoted(&rest[1..], first)?;
                tokens.push(Token::Text(text));
                len += end;
            }
            c if c.is_whitespace() => {}
            _ => {
                let end = rest.find([',', ']', ')', ' ']).unwrap_or(rest.len()).max(len);
                let number = rest[..end].parse::<f64>().ok().filter(|n| n.is_finite());
                let shown = || rest.chars().take(20).collect::<String>();
                let number = number.ok_or_else(|| format!("found {}, expected a string or a number", shown()))?;
                tokens.push(Token::Number(number));
                len = end;
            }
        }
        rest = &rest[len..];
    }
    Ok(tokens)
}

/// The text up to the closing quote, and how many bytes it took with that quote.
fn quoted(text: &str, quote: char) -> Result<(String, usize), String> {
    let (mut found, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match c {
            c if escaped => {
                found.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            c if c == quote => return Ok((found, at + c.len_utf8())),
            c => found.push(c),
        }
    }
    Err(format!("a string does not end, expected {quote}"))
}
