// Oracle says what Mihomo makes of providers' files, by Mihomo's own code: its
// YAML, its link converter, its decoder and its adapters. Paths come on standard
// input, one a line; an answer goes out for each, one JSON object a line.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/metacubex/mihomo/adapter"
	"github.com/metacubex/mihomo/adapter/outbound"
	"github.com/metacubex/mihomo/adapter/provider"
	"github.com/metacubex/mihomo/common/convert"
	"github.com/metacubex/mihomo/common/yaml"
	"github.com/metacubex/mihomo/component/age"
	"github.com/metacubex/mihomo/constant"
	"github.com/metacubex/mihomo/log"
)

type answer struct {
	File string `json:"file"`
	// Why Mihomo would refuse the file, or "".
	Refused string `json:"refused"`
	// What it dials for the entries that it would accept, each judged by itself.
	Endpoints []endpoint `json:"endpoints"`
	// What it does not dial but a lenient reader may tell: why, and what.
	Loose []loose `json:"loose"`
	// Links were read since go-yaml did not like what is behind a first document.
	Behind bool `json:"behind"`
	// Two keys of an entry differ in case alone and neither is Mihomo's own: it takes one at random.
	Random bool `json:"random"`
}

type loose struct {
	Why string `json:"why"`
	endpoint
}

func (a *answer) allow(why string, endpoints []endpoint) {
	for _, e := range endpoints {
		a.Loose = append(a.Loose, loose{why, e})
	}
}

// accepts tells whether the adapter takes the entry; nothing of it is kept running.
func accepts(mapping map[string]any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	if mapping["type"] == "sudoku" {
		return acceptsSudoku(mapping)
	}
	proxy, err := adapter.ParseProxy(mapping)
	if err == nil {
		_ = proxy.Close()
	}
	return err
}

// acceptsSudoku does without the tables, which take the adapter 0.14 s.
func acceptsSudoku(mapping map[string]any) error {
	var option outbound.SudokuOption
	if err := decode(mapping, &option); err != nil {
		return err
	}
	if option.Server == "" || option.Key == "" || option.Port <= 0 || option.Port > 65535 {
		return errors.New("sudoku: no server, port or key")
	}
	return nil
}

func (a *answer) refuse(format string, args ...any) {
	if a.Refused == "" {
		a.Refused = fmt.Sprintf(format, args...)
	}
}

// entries judges as a provider without filters does: an entry without a name, or with one that was there, is left out.
func (a *answer) entries(mappings []map[string]any) {
	seen := map[string]bool{}
	for i, mapping := range mappings {
		found := dialled(mapping)
		err := accepts(mapping)
		a.Random = a.Random || random(mapping)
		name, named := mapping["name"].(string)
		switch {
		case !known(mapping):
			a.allow("unknown type", found.dialled)
		case err != nil:
			a.allow("refused entry", found.dialled)
		case !named:
			a.allow("no name", found.dialled)
		case seen[name]:
			a.allow("repeated name", found.dialled)
		default:
			a.Endpoints = append(a.Endpoints, found.dialled...)
		}
		a.allow("brackets", found.bracketed)
		if named && err != nil && !seen[name] {
			a.refuse("entry %d: %v", i, err)
		}
		seen[name] = seen[name] || named
	}
	if len(a.Endpoints) == 0 {
		a.refuse("no proxy in it")
	}
}

// read takes the steps of adapter/provider: age, YAML, else links.
func read(bytes []byte) ([]map[string]any, error) {
	bytes, err := age.DecryptBytes(bytes)
	if err != nil {
		return nil, err
	}
	var schema provider.ProxySchema
	if err := yaml.Unmarshal(bytes, &schema); err != nil {
		links, linkErr := convert.ConvertsV2Ray(bytes)
		if linkErr != nil {
			return nil, fmt.Errorf("%w, %w", err, linkErr)
		}
		return links, nil
	}
	if schema.Proxies == nil {
		return nil, errors.New("no proxies")
	}
	return schema.Proxies, nil
}

func broken(bytes []byte) bool {
	return yaml.Unmarshal(bytes, new(any)) != nil
}

func judge(path string) (a answer) {
	a = answer{File: path, Endpoints: []endpoint{}, Loose: []loose{}}
	defer func() {
		if r := recover(); r != nil {
			a.refuse("panic: %v", r)
		}
	}()
	bytes, err := os.ReadFile(path)
	if err != nil {
		a.refuse("%v", err)
		return a
	}
	mappings, err := read(bytes)
	if err == nil {
		a.entries(mappings)
		a.Behind = broken(bytes) && first(utf8(bytes)) != ""
	} else {
		a.refuse("%v", err)
		a.lenient(bytes)
	}
	return a
}

func main() {
	home, err := os.MkdirTemp("", "oracle")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(home)
	constant.SetHomeDir(home)
	log.SetLevel(log.SILENT)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if path := strings.TrimSpace(in.Text()); path != "" {
			if err := encoder.Encode(judge(path)); err != nil {
				panic(err)
			}
		}
	}
}
