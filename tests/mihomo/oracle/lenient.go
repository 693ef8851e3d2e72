package main

import (
	"encoding/base64"
	"strings"

	"gopkg.in/yaml.v3"
)

// lenient fills Loose for bytes that Mihomo refuses as a whole, where another reader may understand them.
func (a *answer) lenient(bytes []byte) {
	a.tree("", bytes)
	a.tree("base64 of YAML", unwrapped(bytes))
}

// unwrapped is what is in base64 of either alphabet, padded or not, broken into lines or not.
func unwrapped(bytes []byte) []byte {
	text := strings.Join(strings.Fields(string(bytes)), "")
	text = strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(strings.TrimPrefix(text, "\ufeff"))
	out, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return out
}

// tree reads the nodes, which repeated keys, wrong types and other names do not stop.
func (a *answer) tree(why string, bytes []byte) {
	var document yaml.Node
	if yaml.Unmarshal(bytes, &document) != nil || len(document.Content) == 0 {
		return
	}
	for _, first := range []bool{true, false} {
		root := document.Content[0]
		if root.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i < len(root.Content); i += 2 {
			switch root.Content[i].Value {
			case "proxies":
				a.list(why, root.Content[i+1], first)
			case "Proxy":
				a.list(or(why, "Proxy:"), root.Content[i+1], first)
			}
		}
	}
}

func (a *answer) list(why string, list *yaml.Node, first bool) {
	for list.Kind == yaml.AliasNode {
		list = list.Alias
	}
	if list.Kind != yaml.SequenceNode {
		return
	}
	for _, node := range list.Content {
		mapping := map[string]any{}
		reason := or(why, "beside broken YAML")
		if node.Decode(&mapping) != nil {
			reason = or(why, "repeated key")
			mapping = map[string]any{}
			_ = unique(node, first).Decode(&mapping)
		}
		found := dialled(mapping)
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

// unique is a copy without the earlier or later ones of repeated keys.
func unique(node *yaml.Node, first bool) *yaml.Node {
	out := *node
	out.Content = nil
	at := map[string]int{}
	for i, child := range node.Content {
		if node.Kind != yaml.MappingNode {
			out.Content = append(out.Content, unique(child, first))
			continue
		}
		if i%2 == 1 {
			continue
		}
		value := unique(node.Content[i+1], first)
		if seen, repeated := at[child.Value]; !repeated {
			at[child.Value] = len(out.Content)
			out.Content = append(out.Content, child, value)
		} else if !first {
			out.Content[seen+1] = value
		}
	}
	return &out
}
