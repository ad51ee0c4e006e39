package programs

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
)

// Save writes what was measured: figures as PATH.json, and texts beside them, by what their names end in.
func Save(path string, figures any, texts map[string]string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		return err
	}
	files := map[string]string{".json": string(text) + "\n"}
	maps.Copy(files, texts)
	for suffix, text := range files {
		if err := os.WriteFile(path+suffix, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
