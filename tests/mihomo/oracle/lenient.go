package main

import (
	"encoding/base64"
	"regexp"
	"strings"
	"unicode/utf16"

	"gopkg.in/yaml.v3"
)

// lenient fills Loose for bytes that Mihomo refuses as a whole, where another reader may understand them.
func (a *answer) lenient(bytes []byte) {
	a.forms("", utf8(bytes))
	a.forms("base64 of YAML", unwrapped(bytes))
}

// forms reads text as it is, else in the first form that gives something.
func (a *answer) forms(why, text string) {
	inFlow := tags.ReplaceAllString(marks.ReplaceAllString(lax.Replace(text), "/$1"), "$1 $2")
	for _, form := range [][2]string{
		{why, text},
		{or(why, "laxer syntax"), lax.Replace(text)},
		{or(why, "laxer syntax"), inFlow},
		{or(why, "behind the document"), first(lax.Replace(text))},
	} {
		var document yaml.Node
		if yaml.Unmarshal([]byte(form[1]), &document) == nil && len(document.Content) > 0 &&
			document.Content[0].Kind == yaml.MappingNode {
			a.tree(form[0], document.Content[0])
		}
		if len(a.Loose) > 0 {
			return
		}
	}
}

// lax makes what go-yaml alone refuses, or takes for part of a key, into what it takes.
var lax = strings.NewReplacer("%YAML 1.2", "%YAML 1.1", `\/`, "/", "\n\ufeff", "\n")

// Within braces, go-yaml sees a key begin at a question mark in a plain scalar, and tags go on behind a comma.
var (
	marks = regexp.MustCompile(`\?(\S)`)
	tags  = regexp.MustCompile(`(![^\s,\[\]{}]*)([,\]}])`)
)

func utf8(bytes []byte) string {
	if len(bytes) < 2 || bytes[0]^bytes[1] != 0xff^0xfe {
		return string(bytes)
	}
	low := int(bytes[1] & 1) // 0 where the low byte comes first: FF FE
	units := make([]uint16, len(bytes)/2)
	for i := range units {
		units[i] = uint16(bytes[2*i+low]) | uint16(bytes[2*i+1-low])<<8
	}
	return string(utf16.Decode(units))
}

// Where a first document may end; an indented one also does at a line that is not.
var (
	ends         = regexp.MustCompile(`[}\]]|[\r\n](---|\.\.\.)\s`)
	indentedEnds = regexp.MustCompile(`[}\]]|[\r\n][^\s#]`)
)

// first is the first document alone: go-yaml looks two tokens further.
func first(text string) string {
	may := ends
	if strings.HasPrefix(text, " ") {
		may = indentedEnds
	}
	for _, end := range may.FindAllStringIndex(text, -1) {
		var document yaml.Node
		begin := text[:end[0]+1]
		if yaml.Unmarshal([]byte(begin), &document) != nil || len(document.Content) == 0 {
			continue
		}
		root := document.Content[0]
		if root.Kind == yaml.MappingNode && (root.Style&yaml.FlowStyle != 0 || begin[end[0]] < ' ') {
			return begin
		}
	}
	return ""
}

// unwrapped is what is in base64 of either alphabet, padded or not, broken into lines or not.
func unwrapped(bytes []byte) string {
	text := strings.Join(strings.Fields(string(bytes)), "")
	text = strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(strings.TrimPrefix(text, "\ufeff"))
	out, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	return utf8(out)
}

// tree reads the nodes, which repeated keys, wrong types and other names do not stop.
func (a *answer) tree(why string, root *yaml.Node) {
	for _, take := range choices {
		for i := 0; i < len(root.Content); i += 2 {
			switch root.Content[i].Value {
			case "proxies":
				a.list(why, root.Content[i+1], take)
			case "Proxy":
				a.list(or(why, "Proxy:"), root.Content[i+1], take)
			}
		}
	}
}

func (a *answer) list(why string, list *yaml.Node, take choice) {
	for list.Kind == yaml.AliasNode {
		list = list.Alias
	}
	if list.Kind != yaml.SequenceNode {
		return
	}
	for _, node := range list.Content {
		for node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		mapping := map[string]any{}
		reason := or(why, "beside broken YAML")
		if node.Decode(&mapping) != nil {
			reason = or(why, "repeated key")
			mapping = map[string]any{}
			_ = unique(node, take, []*yaml.Node{list}).Decode(&mapping)
		}
		found := dialled(mapping)
		a.Random = a.Random || random(mapping)
		a.allow(reason, found.dialled)
		a.allow("brackets", found.bracketed)
	}
}

func or(why, otherwise string) string {
	if why == "" {
		return otherwise
	}
	return why
}

// choice is what becomes of repeated keys, and of merges apart from them.
type choice struct {
	key, merge func(earlier, later *yaml.Node) *yaml.Node
}

var choices = []choice{
	{earlier, earlier}, {earlier, later}, {earlier, both}, {later, earlier}, {later, later}, {later, both},
}

func earlier(one, _ *yaml.Node) *yaml.Node { return one }

func later(_, other *yaml.Node) *yaml.Node { return other }

// both as one list, in which the earlier wins.
func both(one, other *yaml.Node) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, node := range []*yaml.Node{one, other} {
		if node.Kind == yaml.SequenceNode {
			list.Content = append(list.Content, node.Content...)
		} else {
			list.Content = append(list.Content, node)
		}
	}
	return list
}

// unique is a copy with aliases written out, without the earlier or later ones of repeated keys and without what
// Mihomo chokes on: broken base64, aliases of what they are in, merges of no map.
func unique(node *yaml.Node, take choice, within []*yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	for _, outer := range within {
		if node == outer || len(within) > 100 {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
		}
	}
	within = append(within, node)
	out := *node
	out.Content = nil
	if _, err := base64.StdEncoding.DecodeString(node.Value); node.Tag == "!!binary" && err != nil {
		out.Tag, out.Value = "!!str", ""
	}
	at := map[string]int{}
	for i, child := range node.Content {
		if node.Kind != yaml.MappingNode {
			out.Content = append(out.Content, unique(child, take, within))
			continue
		}
		if i%2 == 1 {
			continue
		}
		value := unique(node.Content[i+1], take, within)
		if child.Value == "<<" && value.Kind == yaml.ScalarNode {
			continue
		}
		if seen, repeated := at[child.Value]; !repeated {
			at[child.Value] = len(out.Content)
			out.Content = append(out.Content, child, value)
		} else if child.Value == "<<" {
			out.Content[seen+1] = take.merge(out.Content[seen+1], value)
		} else {
			out.Content[seen+1] = take.key(out.Content[seen+1], value)
		}
	}
	return &out
}
