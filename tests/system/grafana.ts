// What dashboard.json must be, by Grafana's own types; test_observability.py lets tsc compare them.
import type { DataQuery, Dashboard, FieldConfig, FieldConfigSource, Panel, RowPanel } from "@grafana/schema";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as lines from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// JSON has the values of TypeScript's enums, which TypeScript doesn't take for the enums themselves.
type Plain<T> = T extends string
  ? `${T}`
  : T extends (infer Item)[]
    ? Plain<Item>[]
    : T extends object
      ? { [Key in keyof T]: Plain<T[Key]> }
      : T;

// Grafana's Prometheus plugin has its query type elsewhere; these are its fields that we use.
interface Query extends DataQuery {
  expr: string;
  legendFormat: string;
  instant?: boolean;
  range?: boolean;
  format?: "time_series" | "table" | "heatmap";
}

interface Of<Kind, Options, Custom> extends Omit<Panel, "type" | "options" | "fieldConfig" | "targets"> {
  type: Kind;
  id: number;
  options: Options;
  fieldConfig: Omit<FieldConfigSource, "defaults"> & { defaults: Omit<FieldConfig, "custom"> & { custom?: Custom } };
  targets: Query[];
}

type AnyPanel =
  | Of<"timeseries", lines.Options, lines.FieldConfig>
  | Of<"stat", stat.Options, never>
  | Of<"table", table.Options, table.FieldConfig>
  | RowPanel;

export type Checked = Plain<Omit<Dashboard, "panels"> & { panels: AnyPanel[] }>;

// That they refuse what is wrong: an unused expectation is an error.
const base = { id: 1, targets: [], fieldConfig: { defaults: {}, overrides: [] } };
export const wrong: Checked["panels"] = [
  // @ts-expect-error no such kind of panel
  { ...base, type: "timeserie", options: {} },
  // @ts-expect-error options are missing
  { ...base, type: "stat", options: { colorMode: "value" } },
  // @ts-expect-error no such place for a legend
  { ...base, type: "timeseries", options: { legend: { calcs: [], placement: "top", showLegend: true }, tooltip: { mode: "multi", sort: "desc" } } },
  // @ts-expect-error no such style
  { ...base, type: "timeseries", fieldConfig: { defaults: { custom: { drawStyle: "curve" } }, overrides: [] }, options: { legend: { calcs: [], placement: "bottom", showLegend: true }, tooltip: { mode: "multi", sort: "desc" } } },
];
