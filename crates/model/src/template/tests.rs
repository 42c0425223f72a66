use super::*;

fn conversation() -> Vec<ChatMessage> {
    let assistant = ChatMessage { reasoning: Some("2 and 2".into()), ..ChatMessage::new("assistant", "4") };
    vec![ChatMessage::new("system", "Be brief."), ChatMessage::new("user", "2 + 2?"), assistant]
}

#[test]
fn chatml_renders_reasoning_and_marks_what_the_assistant_said() {
    let rendered = ChatTemplate::chatml().unwrap().render_spans(&conversation(), &RenderOptions::prompt()).unwrap();
    let expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n2 + 2?<|im_end|>\n\
        <|im_start|>assistant\n<think>\n2 and 2\n</think>\n\n4<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(rendered.text, expected);
    let spans: Vec<_> = rendered.generated.iter().map(|span| &rendered.text[span.clone()]).collect();
    assert_eq!(spans, ["<think>\n2 and 2\n</think>\n\n4<|im_end|>"]);
}

fn render(source: &str) -> Result<String> {
    ChatTemplate::new(source, Specials { eos: Some("</s>".into()), ..Specials::default() })?
        .render(&conversation(), &RenderOptions { date: Some("2026-11-22".into()), ..RenderOptions::default() })
}

#[test]
fn the_extensions_of_hugging_face() {
    assert_eq!(render("{{ {'b': [1, 'ü<'], 'a': none} | tojson }}").unwrap(), r#"{"b": [1, "ü<"], "a": null}"#);
    let options = "ensure_ascii=true, sort_keys=true, separators=(',', ':')";
    assert_eq!(render(&format!("{{{{ {{'b': 'ü', 'a': 1}} | tojson({options}) }}}}")).unwrap(), r#"{"a":1,"b":"\u00fc"}"#);
    assert_eq!(render("{{ tools is iterable }}{{ messages is iterable }}{{ tools is none }}").unwrap(), "FalseTrueTrue");
    assert_eq!(render("{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{{ m.role }}{% endfor %}").unwrap(), "system");
    assert_eq!(render("{{ strftime_now('%d %b %Y') }}{{ eos_token }}").unwrap(), "22 Nov 2026</s>");
    assert_eq!(render("{{ messages[0].content.strip().split(' ')[-1] }}|{{ messages[0]['role'].upper() }}").unwrap(), "brief.|SYSTEM");
    assert_eq!(render("a\n  {% if true %}\nb\n  {% endif %}\nc").unwrap(), "a\nb\nc");
    assert_eq!(render("{% generation %}\nx{% endgeneration %}\ny").unwrap(), "xy");
    let error = render("{{ raise_exception('roles must alternate') }}").unwrap_err().to_string();
    assert!(error.contains("roles must alternate"), "{error}");
}

#[test]
fn templates_that_attack_are_stopped_by_their_bounds() {
    for source in [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}x{% endfor %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for a in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'x' * 100000000000 }}",
        "{{ ''.__class__.__mro__ }}",
        "{% include '/etc/passwd' %}",
        "{{ messages[0].content.format.__globals__ }}",
    ] {
        if let Ok(text) = render(source) {
            assert!(text.is_empty(), "{source} printed {} bytes", text.len());
        }
    }
}

#[test]
fn marks_in_a_message_cannot_move_the_spans() {
    let messages = [ChatMessage::new("user", "\u{FDD0}trained?\u{FDD1}")];
    assert!(ChatTemplate::chatml().unwrap().render(&messages, &RenderOptions::default()).is_err());
}
